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


async def unless(wait: Callable[[], Awaitable[Any]], work: Callable[[], Awaitable[T]]) -> T | None:
    """Do the work, and give it up with None once the waiting is over; errors are raised as they are."""
    results: list[T] = []
    errors: list[Exception] = []

    async def watch(scope: trio.CancelScope) -> None:
        try:
            await wait()
        except Exception as e:  # noqa: BLE001  # raised below
            errors.append(e)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        try:
            results.append(await work())
        except Exception as e:  # noqa: BLE001  # raised below
            errors.append(e)
        nursery.cancel_scope.cancel()
    if errors:
        raise errors[-1]
    return results[0] if results else None
