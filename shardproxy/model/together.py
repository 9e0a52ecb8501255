"""Several things at once, whose first error is what is raised."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import trio

T = TypeVar("T")


async def together(*asks: Callable[[], Awaitable[T]]) -> list[T]:
    """What each returns, in their order; the first error ends the rest, and is raised as it is."""
    found: dict[int, T] = {}
    errors: list[Exception] = []

    async def ask(place: int, scope: trio.CancelScope) -> None:
        try:
            found[place] = await asks[place]()
        except Exception as error:  # noqa: BLE001  # raised below, alone and not in a group
            errors.append(error)
            scope.cancel()

    async with trio.open_nursery() as nursery:
        for place in range(len(asks)):
            nursery.start_soon(ask, place, nursery.cancel_scope)
    if errors:
        raise errors[0]
    return [found[place] for place in range(len(asks))]


async def alone(what: Callable[[], Awaitable[T]]) -> T:
    """Do it, and raise an error of a task of its as itself."""
    return (await together(what))[0]


async def each(work: Callable[[T], Awaitable[Any]], items: Iterable[T]) -> None:
    """Do it for all of them at once, as `together`."""
    await together(*(partial(work, item) for item in items))


async def wait_first(*waits: Callable[[], Awaitable[T]]) -> T:
    """What the first of them returns, or raises; the others are cancelled."""
    results: list[T] = []
    errors: list[Exception] = []

    async def run(wait: Callable[[], Awaitable[T]], scope: trio.CancelScope) -> None:
        try:
            results.append(await wait())
        except Exception as error:  # noqa: BLE001  # raised below, alone and not in a group
            errors.append(error)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        for wait in waits:
            nursery.start_soon(run, wait, nursery.cancel_scope)
    if errors:
        raise errors[0]
    return results[0]


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
