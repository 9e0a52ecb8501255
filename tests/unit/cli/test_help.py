"""What is said at length is true of the command line: every command in README and manual is one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardproxy.cli import command_line, main
from shardproxy.doctor.rights import (
    CACHING,
    FAILOVER,
    LARGE,
    MOVING,
    NEAR,
    PERSISTENCE,
    SHARED,
    WAIT,
    WAITING,
    WATCH,
    word_of,
)
from shardproxy.manual import topic_text, topics

ROOT = Path(__file__).parents[3]
TEXTS = (ROOT / "README.md", *sorted((ROOT / "shardproxy" / "manual").glob("*.md")))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
OF_SHELLS = ("", "sh", "console")


def commands(text: str) -> Iterator[str]:
    """Every line of a block that calls shardproxy, without what is for the shell or the reader."""
    for language, block in BLOCK.findall(text):
        for line in block.splitlines() if language in OF_SHELLS else ():
            if found := re.match(r"(?:\$ )?(?:\S*/)?shardproxy (.*)", line):
                yield re.split(r"\s#\s|\s{3,}|\s[>&|]|;", found[1])[0]


CALLED = [(path.name, command) for path in TEXTS for command in commands(path.read_text())]


def test_commands_are_found() -> None:
    assert len(CALLED) > 40


@pytest.mark.parametrize(("where", "command"), CALLED)
def test_a_command_of_a_text_is_one(where: str, command: str) -> None:
    app = command_line(None)
    app.parse_args(shlex.split(command), print_error=False, exit_on_error=False)


def test_topics_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    listed = capsys.readouterr().out
    for name, title in topics().items():
        assert name in listed
        assert main(["help", name]) == 0
        assert capsys.readouterr().out.startswith(f"# {title}\n")


def test_of_a_topic_that_is_none_those_that_are_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "everything"]) == 1
    assert "from-sentinel" in capsys.readouterr().err


def test_the_rights_of_the_proxy_s_user_are_those_that_doctor_asks_for() -> None:
    text = topic_text("node-user")
    for requests in (WATCH, FAILOVER, WAIT, PERSISTENCE, WAITING, MOVING, SHARED, CACHING, NEAR, LARGE):
        words = " ".join(dict.fromkeys(word_of(request) for request in requests))
        assert words in text
