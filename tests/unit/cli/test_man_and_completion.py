"""The manual page and the completions say what the help says, in their readers' language."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from shardproxy import __version__
from shardproxy.cli import COMMANDS, main
from shardproxy.cli.roff import roff_of

MARKDOWN = """# tool

```console
tool COMMAND
```

Does `this` and that.

## Table of Contents

- [`one`](#tool-one)

**Commands**:

* [`one`](#tool-one): The first.

## tool one

```console
tool one [OPTIONS]
```

Tells of C:\\dir and --option.
.so is no request.

**Parameters**:

* `--name TEXT`: What it is called,
    by **you**. *[default: a-b]*

## FILES

* `/etc/tool`: Its config.
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manual page, as it is installed."""
    out = tmp_path_factory.mktemp("man") / "shardproxy.1"
    with pytest.MonkeyPatch.context() as patch, out.open("w") as file:
        patch.setattr("sys.stdout", file)
        assert main(["man"]) == 0
    return out


@pytest.fixture(scope="module")
def completion_of_bash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("completion") / "shardproxy"
    with pytest.MonkeyPatch.context() as patch, out.open("w") as file:
        patch.setattr("sys.stdout", file)
        assert main(["completion", "bash"]) == 0
    return out


def test_markdown_becomes_requests_of_man() -> None:
    assert roff_of(MARKDOWN, name="tool", version="1.0").splitlines() == [
        '.TH TOOL 1 "" "tool 1.0" "User Commands"',
        ".SH NAME",
        "tool \\- Does \\fBthis\\fR and that",
        ".SH SYNOPSIS",
        ".B tool",
        "COMMAND [OPTIONS]",
        ".SH DESCRIPTION",
        ".PP",
        "Does \\fBthis\\fR and that.",
        ".SH COMMANDS",
        '.SS "tool one"',
        ".PP",
        ".nf",
        "\\fBtool one [OPTIONS]\\fR",
        ".fi",
        ".PP",
        "Tells of C:\\edir and \\-\\-option.",
        "\\&.so is no request.",
        ".TP",
        "\\fB\\-\\-name TEXT\\fR",
        "What it is called, by \\fByou\\fR. \\fI[default: a\\-b]\\fR",
        '.SH "FILES"',
        ".TP",
        "\\fB/etc/tool\\fR",
        "Its config.",
    ]


def test_the_page_has_every_command_in_full(page: Path) -> None:
    text = page.read_text().replace("\\-", "-")
    assert f'"shardproxy {__version__}"' in text
    for name in COMMANDS:
        assert f'.SS "shardproxy {name}"' in text
    assert "\\fB--takeover" in text
    assert "MONITOR costs the server" in text  # of the description of check, not of its summary


@pytest.mark.parametrize(
    "reader",
    [("groff", "-man", "-ww", "-z", "-Tutf8"), ("mandoc", "-Tlint", "-Werror")],
    ids=lambda one: one[0],
)
def test_readers_of_pages_have_nothing_to_say(page: Path, reader: tuple[str, ...]) -> None:
    if shutil.which(reader[0]) is None:
        pytest.skip(f"{reader[0]} is not installed")
    done = subprocess.run([*reader, page], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_know_every_command(
    shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed: its file is not read by it")
    file = tmp_path / "completion"
    file.write_text(text)
    done = subprocess.run([program, "-n", file], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("do",), {"doctor"}),
        (("doctor", "--c"), {"--config"}),
        (("completion", ""), {"bash", "zsh", "fish"}),
        (("status", "--output", ""), {"table", "json"}),
        (("backup", "ver"), {"verify"}),
    ],
)
def test_bash_completes(words: tuple[str, ...], wanted: set[str], completion_of_bash: Path) -> None:
    line = " ".join(f"'{word}'" for word in ("shardproxy", *words))
    script = (
        f"source {completion_of_bash}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _shardproxy;"
        " printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert set(done.stdout.split()) == wanted, done.stderr
