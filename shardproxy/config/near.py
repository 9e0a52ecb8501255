"""The near cache: replies of hot keys that the proxy keeps in its own memory."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from shardproxy.config.base import Section, refused
from shardproxy.config.limits import MIB
from shardproxy.config.patterns import Text, pattern_names
from shardproxy.config.sizes import Size

LEAST, MOST = 1 * MIB, 1 << 40


def _pattern(text: str) -> str:
    pattern_names(text)
    return text


def _memory(size: int) -> int:
    if not LEAST <= size <= MOST:
        raise refused("must be between 1mb and 1024gb", "leave out near_cache to keep nothing")
    return size


class NearCache(Section):
    """Which replies are kept, and in how much memory."""

    memory: Annotated[Size, AfterValidator(_memory)] = 64 * MIB
    """Memory for all of them, shared out evenly to the workers; it comes on top of `limits.buffers`."""
    match: Annotated[tuple[Annotated[Text, AfterValidator(_pattern)], ...], Field(max_length=100)] = ()
    """Of which keys: `*` is any bytes, `{name}` one or more, `[0-9a-f]` one of a set, the rest itself.
    Default: of all that are asked for often."""
