"""A YAML text as plain values, each with its place in the file. Knows nothing of what the values mean."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from shardproxy.config.checks import MASK, Path, is_secret, show
from shardproxy.config.errors import Problem

MAX_TEXT = 4 << 20  # characters; 250 shards of 6 nodes, written out, are a tenth of it
MAX_VALUES = 200_000  # after aliases are followed: a small file can stand for a giant one
MAX_DEPTH = 50  # the deepest setting is at 8

_MERGE = "tag:yaml.org,2002:merge"
_PLAIN = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")
)


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Document:
    """Plain values, where each stands, and what was wrong with the text."""

    value: Any = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """Return where to look for a value: the text itself, or the key above a nested block."""
        for end in range(len(path), -1, -1):
            if (place := self.values.get(path[:end])) is not None:
                return place
        return Place(1, 1)

    def key_place(self, path: Path) -> Place:
        return self.keys.get(path) or self.place(path)


class _ReadError(Exception):
    """The text cannot be read any further."""


def read_document(text: str) -> Document:
    """Read one YAML document; never raises, what is wrong is in `problems`."""
    document = Document()
    if len(text) > MAX_TEXT:
        document.problems.append(
            Problem(0, 0, "", f"has more than {MAX_TEXT} characters", "is it the right file?")
        )
        return document
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False  # that warning would show whole lines
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as e:
        document.problems.append(_syntax_problem(e))
        return document
    except (YAMLError, RecursionError) as e:
        what = "is nested too deeply" if isinstance(e, RecursionError) else " ".join(str(e).split())
        document.problems.append(Problem(0, 0, "", f"is not YAML: {what}"))
        return document
    if root is not None:
        with contextlib.suppress(_ReadError):
            document.value = _Reader(document, yaml).read(root, (), None)
    return document


class _Reader:
    """Turns composed nodes into plain values."""

    def __init__(self, document: Document, yaml: YAML) -> None:
        self._document = document
        self._yaml = yaml
        self._above: list[int] = []
        self._count = 0

    def read(self, node: Node, path: Path, key: Node | None) -> Any:
        place = _place(node)
        is_text = isinstance(node, ScalarNode) and node.value  # an empty value has no place of its own
        self._document.values[path] = place if key is None or is_text else _place(key)
        self._count += 1
        if self._count > MAX_VALUES or len(path) > MAX_DEPTH:
            self._problem(
                place,
                path,
                "stands for too many values" if len(path) <= MAX_DEPTH else "is nested too deeply",
            )
            raise _ReadError
        if id(node) in self._above:
            self._problem(place, path, "an alias contains itself")
            return None
        if str(node.tag) not in _PLAIN and isinstance(node, (MappingNode, SequenceNode)):
            self._strange_tag(node, path)
        self._above.append(id(node))
        try:
            match node:
                case MappingNode():
                    return self._mapping(node, path)
                case SequenceNode():
                    return [self.read(item, (*path, i), None) for i, item in enumerate(node.value)]
                case _:
                    return self._scalar(node, path)
        finally:
            self._above.pop()

    def _scalar(self, node: Node, path: Path) -> Any:
        if str(node.tag).endswith(":null") and path:
            self._problem(self._document.place(path), path, "has no value", "give it one, or remove the key")
        return self._plain(node, path)

    def _plain(self, node: Node, path: Path) -> Any:
        tag = str(node.tag)
        if tag not in _PLAIN:  # dates and the like stay the text they are
            if not tag.startswith("tag:yaml.org,2002:"):
                self._problem(
                    _place(node), path, f"YAML tag {_said(path, tag)} is not supported", "remove the tag"
                )
            return str(node.value)
        try:
            return self._yaml.constructor.construct_object(node)
        except (ValueError, YAMLError):
            said = _said(path, repr(node.value))
            self._problem(_place(node), path, f"{said} is not a {tag.rpartition(':')[2]}")
            return None

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: list[MappingNode] = []
        for key, value in node.value:
            if str(key.tag) == _MERGE:
                merged += self._merged(value, path)
                continue
            name = str(key.value) if isinstance(key, ScalarNode) else ""
            if not isinstance(key, ScalarNode) or not isinstance(self._plain(key, path), str):
                hint = f'put it in quotes: "{_said(path, name)}"' if name else None
                self._problem(_place(key), path, "a key must be text", hint)
            at = (*path, name)
            if name in values:
                first = self._document.keys[at]
                self._problem(
                    _place(key), at, f"is given twice, first in line {first.line}", "remove one of them"
                )
                continue
            self._document.keys[at] = _place(key)
            values[name] = self.read(value, at, key)
        for source in merged:
            for name, value in self._inherited(source, path):
                if name not in values:
                    values[name] = value
        return values

    def _merged(self, node: Node, path: Path) -> list[MappingNode]:
        """Return the mappings a `<<` key names."""
        named = node.value if isinstance(node, SequenceNode) else [node]
        if all(isinstance(one, MappingNode) for one in named):
            return list(named)
        self._problem(_place(node), path, "<< takes a mapping or a list of mappings")
        return []

    def _inherited(self, source: MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        """Read a mapping that is merged into the one at `path`; what stands there already is not touched."""
        before_values, before_keys = dict(self._document.values), dict(self._document.keys)
        value = self.read(source, path, None)
        self._document.values.update(before_values)
        self._document.keys.update(before_keys)
        yield from value.items() if isinstance(value, dict) else ()

    def _strange_tag(self, node: Node, path: Path) -> None:
        tag = _said(path, node.tag)
        self._problem(_place(node), path, f"YAML tag {tag} is not supported", "remove the tag")

    def _problem(self, place: Place, path: Path, message: str, hint: str | None = None) -> None:
        self._document.problems.append(Problem(place.line, place.column, show(path), message, hint))


def _said(path: Path, text: object) -> str:
    """A piece of the text as an error may quote it."""
    return MASK if is_secret(path) else str(text)


def _place(node: Node) -> Place:
    mark = node.start_mark
    return Place(mark.line + 1, mark.column + 1)


# Where the text cannot be read nobody knows what is a secret; line and column say which name is meant.
_NAMED = re.compile(r"""\b(alias|anchor|tag handle) ['"].*['"]""")
_SYNTAX_HINTS = (
    ("\\t", "YAML is indented by spaces, not tabs"),
    ("character '@'", "put text that starts with @ in quotes"),
    ("character '`'", "put text that starts with ` in quotes"),
    ("character '%'", "put text that starts with % in quotes"),
    ("mapping values are not allowed", "a colon and a space start a value: quote text that contains them"),
    ("undefined alias", "define it before with &name, or put text that starts with * in quotes"),
    ("another document", "put everything into one document: remove the line ---"),
    ("unexpected end of stream", "a quote or bracket is not closed"),
    ("expected ',' or", "a bracket is not closed, or a comma is missing"),
    ("expected <block end>", "check the indentation here and one line up; put [::1]:7000 in quotes"),
    ("could not find expected ':'", "a colon is missing after the key, or a quote is not closed"),
)


def _syntax_problem(error: MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = " ".join(str(error.problem or error.context or "cannot be read").split())
    what = _NAMED.sub(r"\1", what)
    hint = next((hint for sign, hint in _SYNTAX_HINTS if sign in what), None)
    if mark is None:
        return Problem(0, 0, "", f"is not YAML: {what}", hint)
    return Problem(mark.line + 1, mark.column + 1, "", f"is not YAML: {what}", hint)
