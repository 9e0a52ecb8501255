"""The pages of insight: what is asked comes through; lines stream on as long as they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio

from shardproxy.admin import lifetime
from shardproxy.admin.listen import admin_close, admin_listen
from shardproxy.admin.server import run_admin
from shardproxy.admin.status import Sources, StatusBoard
from shardproxy.insight.interface import Asked, InsightError, Lines
from shardproxy.model import Address
from tests.unit.app.fake_native import FakeNative, dataplane_over


class FakeInsight:
    """Answers with what it was asked; a scan has a line each moment until nobody wants more."""

    def __init__(self) -> None:
        self.lines = 0
        self.every = 0.02  # seconds
        self.padding = ""
        self.ended = trio.Event()

    def explain(self, asked: Asked) -> dict[str, Any]:
        return {"args": [arg.decode() for arg in asked.args], "user": asked.user, "zone": asked.zone}

    async def usage(self, cluster: str | None, keys: int) -> dict[str, Any]:
        return {"asked": [cluster, keys]}

    async def advice(self, cluster: str | None) -> dict[str, Any]:
        raise InsightError(404, f"no cluster {cluster}")

    def scan(self, cluster: str, *, rate: int, limit: int, samples: int) -> Lines:
        return self._scan({"asked": [cluster, rate, limit, samples]})

    async def _scan(self, first: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        try:
            yield first
            while True:
                await trio.sleep(self.every)
                self.lines += 1
                yield {"line": self.lines, "padding": self.padding}
        finally:
            self.ended.set()


@asynccontextmanager
async def pages(insight: FakeInsight) -> AsyncIterator[httpx.AsyncClient]:
    listener = admin_listen(Address("127.0.0.1", 0))
    dataplane = dataplane_over(FakeNative())
    sources = Sources(StatusBoard(), dataplane.statistics, dataplane.clients, {}, insight=insight)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with trio.fail_after(30):
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client, trio.open_nursery() as nursery:
            await nursery.start(run_admin, listener, sources)
            yield client
            nursery.cancel_scope.cancel()
    dataplane.stop()
    admin_close(listener)


async def asking(client: httpx.AsyncClient) -> trio.SocketStream:
    """A connection on which a scan was asked for."""
    url = client.base_url
    assert url.port is not None
    stream = await trio.open_tcp_stream(url.host, url.port)
    await stream.send_all(b"GET /api/bigkeys/scan?cluster=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return stream


async def test_what_is_asked_comes_through() -> None:
    async with pages(FakeInsight()) as client:
        said = await client.get("/api/explain?cluster=a&arg=GET&arg=k%201&user=u&zone=z")
        assert said.json() == {"args": ["GET", "k 1"], "user": "u", "zone": "z"}
        assert (await client.get("/api/usage?cluster=a&sample=7")).json() == {"clusters": {"asked": ["a", 7]}}
        refused = await client.get("/api/advice?cluster=b")
        assert (refused.status_code, refused.json()) == (404, {"error": "no cluster b"})


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/api/explain?arg=GET", "cluster: say which"),
        ("/api/explain?cluster=a", "arg: send 1 to 1000 words"),
        ("/api/explain?cluster=a" + "&arg=x" * 1001, "arg: send 1 to 1000 words"),
        ("/api/usage?sample=50001", "sample: send a number from 0 to 50000"),
        ("/api/bigkeys/scan", "cluster: say which"),
        ("/api/bigkeys/scan?cluster=a&rate=0", "rate: send a number from 1"),
        ("/api/bigkeys/scan?cluster=a&limit=1001", "limit: send a number from 1 to 1000"),
        ("/api/bigkeys/scan?cluster=a&samples=%C2%B2", "samples: send a number"),
        ("/api/bigkeys/scan?cluster=a&samples=0", "samples: send a number from 1 to 1000"),
    ],
)
async def test_bad_questions_are_told_what_to_send(path: str, why: str) -> None:
    async with pages(FakeInsight()) as client:
        refused = await client.get(path)
        assert refused.status_code == 400
        assert why in refused.json()["error"]


async def test_lines_come_as_long_as_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections of other pages end at that age; what makes the lines ends with its client."""
    monkeypatch.setattr(lifetime, "MAX_AGE", 0.5)
    insight = FakeInsight()
    async with pages(insight) as client, await asking(client) as stream:
        began, heard = trio.current_time(), b""
        while trio.current_time() - began < 1.5:
            more = await stream.receive_some()
            assert more, "it was closed"
            heard = (heard + more)[:1000]
        assert b"content-type: application/x-ndjson" in heard
        assert b'{"asked": ["a", 1000, 100, 5]}\n' in heard
        assert not insight.ended.is_set()
        await stream.aclose()
        await insight.ended.wait()


async def test_who_stops_reading_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetime, "MAX_AGE", 0.3)
    insight = FakeInsight()
    insight.every, insight.padding = 0.0, "x" * 100_000
    async with pages(insight) as client, await asking(client):
        await insight.ended.wait()  # its buffers are full, and nobody takes what is in them
