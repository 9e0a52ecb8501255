"""Nodes of a Redis Cluster are found, however many others do not answer."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from shardproxy.model import Address
from shardproxy.nodes import LinkTimeouts
from shardproxy.topology import modes
from shardproxy.topology.modes import why_foreign
from tests.unit.topology.make import clusters, redis

SERVER = b"# Server\r\nredis_version:7.0.15\r\nredis_mode:cluster\r\nrun_id:1\r\nprocess_id:1\r\n"


async def node(nursery: trio.Nursery, reply: bytes) -> Address:
    """One that says this to whatever it is asked; nothing at all if it is empty."""

    async def serve(stream: trio.SocketStream) -> None:
        async for _ in stream:
            await stream.send_all(reply)

    (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
    return Address("127.0.0.1", listener.socket.getsockname()[1])


async def test_those_that_are_silent_take_nobody_s_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "AT_ONCE", 1)
    async with trio.open_nursery() as nursery:
        silent = [await node(nursery, b"") for _ in range(2)]
        foreign = await node(nursery, b"$%d\r\n%b\r\n" % (len(SERVER), SERVER))
        of = clusters(main=redis((*silent, foreign)))["main"]
        why = await why_foreign({"main": (of, [*silent, foreign])}, LinkTimeouts(0.5, 0.5))
        assert why is not None
        assert f"cluster main: node {foreign} runs in cluster mode" in why
        with trio.fail_after(5):
            assert await why_foreign({"main": (of, silent)}, LinkTimeouts(60, 60), within=0.1) is None
        nursery.cancel_scope.cancel()
