"""What `shardproxy help TOPIC` shows: one Markdown file a topic. Knows nothing of terminals."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable


class UnknownTopicError(Exception):
    """There is no such topic; the text names those that there are."""


def topics() -> Mapping[str, str]:
    """The first line of every topic, by its name."""
    texts = {file.name.removesuffix(".md"): file.read_text("utf-8") for file in _files()}
    return {name: text.splitlines()[0].removeprefix("# ") for name, text in sorted(texts.items())}


def topic_text(name: str) -> str:
    """A topic as Markdown; raise UnknownTopicError."""
    for file in _files():
        if file.name == f"{name}.md":
            return file.read_text("utf-8")
    raise UnknownTopicError(f"no topic {name!r}; there is: {', '.join(topics())}")


def _files() -> list[Traversable]:
    folder = resources.files("shardproxy").joinpath("manual")
    return [file for file in folder.iterdir() if file.name.endswith(".md")]
