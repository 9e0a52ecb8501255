"""Bodies of HTTP, sent and read so that no generator of httpx is left half-way: it is not cleaned up then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, cast

import trio

if TYPE_CHECKING:
    import httpx


class TooMuchError(Exception):
    """More than was to be expected."""


def body_of(data: bytes) -> httpx.AsyncByteStream:
    """Bytes to send. No generator: its connection may break while it is read."""
    import httpx

    class Body(httpx.AsyncByteStream):
        def __init__(self) -> None:
            self._parts = iter((data,))

        def __aiter__(self) -> AsyncIterator[bytes]:
            return cast(AsyncIterator[bytes], self)

        async def __anext__(self) -> bytes:
            for part in self._parts:
                return part
            raise StopAsyncIteration

    return Body()


async def body_read(response: httpx.Response, limit: int) -> bytes:
    """All of it, to its end; raise TooMuchError for more than the limit."""
    content, length = bytearray(), 0
    async for chunk in response.aiter_raw():
        length += len(chunk)
        if length <= limit:
            content += chunk
    if length > limit:
        raise TooMuchError(f"more than {limit} bytes")
    return bytes(content)


async def lines_take(response: httpx.Response, take: Callable[[bytes], None], limit: int) -> None:
    """Have each line taken, until there are no more; raise what `take` raises, or TooMuchError."""
    failure: Exception | None = None
    rest = b""
    with trio.CancelScope() as scope:
        async for chunk in response.aiter_raw():
            if failure is not None:
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            try:
                for line in filter(None, lines):
                    take(line)
                if len(rest) > limit:
                    raise TooMuchError(f"more than {limit} bytes in a line")
            except Exception as error:  # noqa: BLE001 - it is raised below, where no generator is left
                failure = error
                scope.cancel()
    if failure is not None:
        raise failure
