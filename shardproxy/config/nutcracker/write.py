"""Writes plain values as YAML for people, with comments."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

WIDTH = 100

_BARE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*|[0-9]+(ms|s|m|h|d)")
_WORDS = {
    "true",
    "false",
    "null",
    "yes",
    "no",
    "on",
    "off",
    "y",
    "n",
}  # no text, to one YAML reader or another


def write(
    source: str, clusters: Mapping[str, Mapping[str, object]], notes: Mapping[str, Sequence[str]]
) -> str:
    """Write a config file; the notes of a cluster stand above it."""
    return "".join(f"{line}\n" for line in _lines(source, clusters, notes))


def _lines(
    source: str, clusters: Mapping[str, Mapping[str, object]], notes: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    yield f"# Made of {_one_line(source)} by shardproxy config import."
    yield '# Lines that start with "# !" tell what is not as it was.'
    yield ""
    yield "clusters:"
    for name, cluster in clusters.items():
        for note in notes.get(name, ()):
            yield from textwrap.wrap(note, WIDTH, initial_indent="  # ! ", subsequent_indent="  #   ")
        yield f"  {_flow(name)}:"
        for key, value in cluster.items():
            if isinstance(value, list):
                yield f"    {key}:"
                yield from (f"      - {_flow(one)}" for one in value)
            else:
                yield f"    {key}: {_flow(value)}"


def _flow(value: object) -> str:
    """Write a value in one line."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case str() if _BARE.fullmatch(value) and value.lower() not in _WORDS:
            return value
        case _:
            return json.dumps(value)


def _one_line(text: str) -> str:
    return " ".join(text.split())
