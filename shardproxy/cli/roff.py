"""A manual page from the Markdown that cyclopts makes of the command line's help. Pure.

Knows as much of Markdown as occurs there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

CONTENTS = "Table of Contents"
CAPITALS = re.compile(r"[A-Z ]+")
ITEM = re.compile(r"\* (?:`([^`]+)`|\[`([^`]+)`\]\([^)]*\)):? ?(.*)")
MARKED = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|(?<!\w)\*([^*]+)\*(?!\w)")


def roff_of(markdown: str, *, name: str, version: str) -> str:
    """The page, for man(7) macros, of section 1."""
    blocks = iter(_blocks(markdown.splitlines()))
    next(blocks)  # the title
    lines = [f'.TH {name.upper()} 1 "" "{name} {version}" "User Commands"']
    lines += [
        ".SH NAME",
        f"{name} \\- {_first_line(markdown)}",
        ".SH SYNOPSIS",
        f".B {name}",
        "COMMAND [OPTIONS]",
    ]
    lines += [".SH DESCRIPTION"]
    is_described, skips = False, False
    for block in blocks:
        if block.startswith("#"):
            title = block.lstrip("#").strip()
            skips = title == CONTENTS
            if skips:
                continue
            if CAPITALS.fullmatch(title):
                lines.append(f'.SH "{title}"')
                continue
            if not is_described:
                lines.append(".SH COMMANDS")
                is_described = True
            lines.append(f'.SS "{_escaped(title)}"')
        elif not skips and not (block.startswith(("```", "**Commands**", "* [")) and not is_described):
            lines += _body(block)
    return "\n".join(lines) + "\n"


def _first_line(markdown: str) -> str:
    """What it is, as the help's first sentence says."""
    blocks = _blocks(markdown.splitlines())
    text = next(block for block in blocks if not block.startswith(("#", "```")))
    return _inline(text.rstrip("."))


def _blocks(lines: Iterable[str]) -> Iterator[str]:
    """Headings, fences, list items and paragraphs, each whole."""
    block: list[str] = []
    is_fenced = False
    for line in lines:
        if line.startswith("```"):
            if not is_fenced and block:
                yield "\n".join(block)
                block = []
            block.append(line)
            is_fenced = not is_fenced
            if not is_fenced:
                yield "\n".join(block)
                block = []
        elif is_fenced:
            block.append(line)
        elif not line.strip() or line.startswith(("#", "* ")):
            if block:
                yield "\n".join(block)
            block = []
            if line.startswith("#"):
                yield line
            elif line.strip():
                block = [line]
        else:
            block.append(line)
    if block:
        yield "\n".join(block)


def _body(block: str) -> list[str]:
    if block.startswith("```"):
        return [".PP", ".nf", *(f"\\fB{_escaped(line)}\\fR" for line in block.splitlines()[1:-1]), ".fi"]
    if match := ITEM.match(block.replace("\n", " ")):
        return [".TP", f"\\fB{_escaped(match[1] or match[2])}\\fR", *_safe(re.sub(" +", " ", match[3]))]
    if re.fullmatch(r"\*\*[^*]+\*\*:", block):  # of a list that follows, whose items speak for themselves
        return []
    return [".PP", *(line for text in block.splitlines() for line in _safe(text.strip()))]


def _safe(text: str) -> list[str]:
    """A line of text; one that would be a request begins with nothing."""
    marked = _inline(text)
    return [f"\\&{marked}" if marked.startswith((".", "'")) else marked] if marked else []


def _inline(text: str) -> str:
    found, at = [], 0
    for match in MARKED.finditer(text):
        found.append(_escaped(text[at : match.start()]))
        at = match.end()
        if match[3] is not None:
            found.append(f"\\fI{_escaped(match[3])}\\fR")
        else:
            found.append(f"\\fB{_escaped(match[1] or match[2])}\\fR")
    return "".join(found) + _escaped(text[at:])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")
