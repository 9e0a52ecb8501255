"""Caching is loaded for the first cluster that has rules; what its clients ask until then waits for it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from shardproxy.app import caching as desks
from shardproxy.app.caching import CachingDesk, CachingTools
from shardproxy.dataplane import CacheAged, Offloaded
from shardproxy.model import Engine
from shardproxy.model.board import Board
from shardproxy.nodes import NodeLinks


class FakeDataPlane:
    """Hears what is served as if there were no rules, which is how other databases than 0 are."""

    def __init__(self) -> None:
        self.passed: list[int] = []
        self.answered: dict[int, bytes] = {}
        self.heard = trio.Event()

    def pass_on(self, token: int) -> None:
        self.passed.append(token)
        self.heard.set()

    def answer(self, token: int, reply: bytes) -> None:
        self.answered[token] = reply

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


def offload(token: int, rule: int | None) -> Offloaded:
    args = (b"GET", b"user:1")
    return Offloaded(token, "main", "primary", 7, "default", 2, 1, "127.0.0.1:7000", True, args, rule)


async def test_what_comes_before_the_service_waits_for_it(nursery: trio.Nursery) -> None:
    dataplane: Any = FakeDataPlane()
    clusters: Board[str, Any] = Board()
    tools = CachingTools(dataplane, clusters, {}, {}, lambda speech: NodeLinks(speech=speech), Path.cwd)
    desk = CachingDesk(tools)
    await nursery.start(desk.run)

    assert desk.take(offload(1, rule=0))
    assert not desk.take(offload(2, rule=None)), "no rule, no matter of caching"
    assert dataplane.passed == []

    caching = SimpleNamespace(sources={}, rules=(), invalidate=())
    config = SimpleNamespace(caching=caching, writes=SimpleNamespace(wait=0, timeout=1.0))
    clusters.show("main", SimpleNamespace(settings=SimpleNamespace(config=config)))
    with trio.fail_after(30):
        await dataplane.heard.wait()
    assert dataplane.passed == [1]
    assert desk.take(offload(3, rule=0))
    assert dataplane.passed == [1, 3]


@pytest.mark.parametrize(
    ("engine", "begins"), [(Engine.REDIS, b"-ERR "), (Engine.MEMCACHED, b"SERVER_ERROR ")]
)
async def test_of_what_comes_before_the_service_only_so_much_waits(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, begins: bytes
) -> None:
    monkeypatch.setattr(desks, "EARLY", 2)
    dataplane: Any = FakeDataPlane()
    clusters: Board[str, Any] = Board()
    clusters.show("main", SimpleNamespace(settings=SimpleNamespace(config=SimpleNamespace(kind=engine))))
    desk = CachingDesk(
        CachingTools(dataplane, clusters, {}, {}, lambda speech: NodeLinks(speech=speech), Path.cwd)
    )
    for token in (1, 2, 3):
        assert desk.take(offload(token, rule=0))
    assert desk.take(CacheAged("main", 0, b"user:1")), "of a value that is served nobody waits to hear"
    text = b"too many commands wait for the control plane, command not executed\r\n"
    assert dataplane.answered == {3: begins + text}
