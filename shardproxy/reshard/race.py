"""Waits for the first of several things."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def wait_first(*waits: Callable[[], Awaitable[T]]) -> T:
    """What the first of them returns, or raises; the others are cancelled."""
    results: list[T] = []
    errors: list[Exception] = []

    async def run(wait: Callable[[], Awaitable[T]], scope: trio.CancelScope) -> None:
        try:
            results.append(await wait())
        except Exception as error:  # noqa: BLE001  # raised again below, alone and not in a group
            errors.append(error)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        for wait in waits:
            nursery.start_soon(run, wait, nursery.cancel_scope)
    if errors:
        raise errors[0]
    return results[0]
