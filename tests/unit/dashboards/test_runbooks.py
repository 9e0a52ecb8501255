"""Every alert has its runbook, and the commands, alerts and panels that runbooks name are there."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest

from shardproxy.cli import COMMANDS, main
from tests.fixtures.dashboards import FOLDER, pages, rules

TEXT = (FOLDER / "RUNBOOKS.md").read_text()
BOOKS = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=\n##|\Z)", TEXT, re.MULTILINE | re.DOTALL))
PARTS = ["Means", "Users feel", "Look at", "Do", "Over when"]
CALLS = sorted({" ".join(call.split()) for call in re.findall(r"`shardproxy ([^`]+)`", TEXT)})


def test_every_alert_has_one_and_leads_there() -> None:
    alerts = {rule["alert"]: rule for rule in rules("alerts.yaml")}
    assert BOOKS.keys() == alerts.keys()
    for name, rule in alerts.items():
        file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert FOLDER.parent / file == FOLDER / "RUNBOOKS.md"
        assert anchor == name.lower()  # as headings of Markdown are linked to


@pytest.mark.parametrize("name", BOOKS)
def test_it_says_what_who_where_and_when(name: str) -> None:
    assert re.findall(r"^- \*\*([^:]+):\*\*", BOOKS[name], re.MULTILINE) == PARTS
    others = set(re.findall(r"Shardproxy[A-Z]\w+", BOOKS[name]))
    assert others <= BOOKS.keys()


def test_dashboards_and_panels_are_there() -> None:
    titles = {page["title"].removeprefix("shardproxy: "): page for page in pages().values()}
    named = set(re.findall(r"(?<!\*)\*(?:shardproxy: )?([a-z][^*]+)\*(?!\*)", TEXT))
    assert named
    assert {" ".join(name.split()) for name in named} <= titles.keys()
    panels = {panel["title"] for page in pages().values() for panel in page["panels"]}
    told = {" ".join(title.split()) for title in re.findall(r'"([A-Z][^"]+)"', re.sub(r"`[^`]*`", "", TEXT))}
    assert told
    assert told <= panels


def help_of(*words: str, into: pytest.CaptureFixture[str]) -> str:
    with suppress(SystemExit):
        main([*words, "--help"])
    return into.readouterr().out


@pytest.mark.parametrize("call", CALLS)
def test_commands_are_there(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = call.split()
    command = [word for word in words[:2] if word.islower()]
    assert command[0] in COMMANDS
    said = help_of(*command, into=capsys)
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"{option}\b", said), f"{call}: no {option}"
    assert ("CLUSTER" in words) <= ("CLUSTER" in said), call
