"""Several things at once, whose first error is what is raised."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import trio

T = TypeVar("T")


async def each(work: Callable[[T], Awaitable[Any]], items: Iterable[T]) -> None:
    """Do it for all of them at once; the first error ends the rest, and is raised as it is."""
    errors: list[Exception] = []

    async def one(item: T, scope: trio.CancelScope) -> None:
        try:
            await work(item)
        except Exception as e:  # noqa: BLE001  # raised below
            errors.append(e)
            scope.cancel()

    async with trio.open_nursery() as nursery:
        for item in items:
            nursery.start_soon(one, item, nursery.cancel_scope)
    if errors:
        raise errors[0]
