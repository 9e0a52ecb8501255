"""Waits for several questions at once; the first error ends all, and is raised as itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from shardproxy.importing.errors import ForeignError

T = TypeVar("T")


async def together(asks: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """What each returns, in their order; raise the first ForeignError."""
    found: dict[int, T] = {}
    errors: list[ForeignError] = []

    async def ask(place: int) -> None:
        try:
            found[place] = await asks[place]()
        except ForeignError as error:
            errors.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for place in range(len(asks)):
            nursery.start_soon(ask, place)
    if errors:
        raise errors[0]
    return [found[place] for place in range(len(asks))]


async def alone(what: Callable[[], Awaitable[T]]) -> T:
    """Do it, and raise a ForeignError of a task of its as itself."""
    return (await together([what]))[0]
