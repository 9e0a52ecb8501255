"""A relay that forges: of the commands that a source tells, one in so many is about another key.

Nothing else changes, not even the length: who reads it misses a change, and cannot know.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import trio

from shardproxy.model import Address
from shardproxy.replication.interface import End

CHUNK = 1 << 16


class Forger:
    def __init__(self, target: int, every: int) -> None:
        self._target = target
        self._every = every
        self._port = 0
        self._commands = 0
        self.forged = 0

    @property
    def end(self) -> End:
        return End(Address("127.0.0.1", self._port))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self._port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, client: trio.SocketStream) -> None:
        async with client, await trio.open_tcp_stream("127.0.0.1", self._target) as engine:
            is_stream = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(self._ask, client, engine, is_stream, nursery.cancel_scope))
                nursery.start_soon(partial(self._tell, engine, client, is_stream, nursery.cancel_scope))

    async def _ask(
        self,
        client: trio.SocketStream,
        engine: trio.SocketStream,
        is_stream: trio.Event,
        scope: trio.CancelScope,
    ) -> None:
        with suppress(trio.BrokenResourceError):
            async for chunk in client:
                if b"PSYNC" in chunk:
                    is_stream.set()
                await engine.send_all(chunk)
        scope.cancel()

    async def _tell(
        self,
        engine: trio.SocketStream,
        client: trio.SocketStream,
        is_stream: trio.Event,
        scope: trio.CancelScope,
    ) -> None:
        rest = b""
        with suppress(trio.BrokenResourceError):
            async for chunk in engine:
                if not is_stream.is_set():
                    await client.send_all(chunk)
                    continue
                rest += chunk
                told, rest = self._forge(rest)
                await client.send_all(told)
        scope.cancel()

    def _forge(self, data: bytes) -> tuple[bytes, bytes]:
        """The whole lines and commands in it, and what is left."""
        told = bytearray()
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            if data[at : at + 1] != b"*":
                told += data[at : end + 1]
                at = end + 1
                continue
            words, after = self._words(data, at)
            if after is None:
                break
            self._commands += 1
            command = bytearray(data[at:after])
            if len(words) > 1 and self._commands % self._every == 0 and words[0][2].upper() != b"SELECT":
                start, stop, _ = words[1]
                command[start - at : stop - at] = b"~" * (stop - start)
                self.forged += 1
            told += command
            at = after
        return bytes(told), data[at:]

    @staticmethod
    def _words(data: bytes, at: int) -> tuple[list[tuple[int, int, bytes]], int | None]:
        end = data.find(b"\r\n", at)
        words = []
        place = end + 2
        for _ in range(int(data[at + 1 : end])):
            end = data.find(b"\r\n", place)
            if end < 0:
                return [], None
            start = end + 2
            stop = start + int(data[place + 1 : end])
            if len(data) < stop + 2:
                return [], None
            words.append((start, stop, data[start:stop]))
            place = stop + 2
        return words, place
