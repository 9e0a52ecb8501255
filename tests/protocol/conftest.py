"""One plain redis-server beside the proxy: what it says is right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.fleet.process import Launch


@pytest.fixture(scope="session")
def session_plain(launch: Launch) -> Iterator[RedisNode]:
    with Fleet(shards=1, replicas=0, launch=launch) as fleet:
        node = fleet.shards[0].primary
        assert isinstance(node, RedisNode)
        yield node


@pytest.fixture
def plain(session_plain: RedisNode) -> RedisNode:
    """The plain engine, empty."""
    session_plain.ask("FLUSHALL")
    session_plain.ask("SCRIPT", "FLUSH")
    return session_plain
