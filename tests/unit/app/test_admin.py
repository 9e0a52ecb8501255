"""The admin pages, over real connections."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from shardproxy.admin import lifetime, slots
from shardproxy.admin.health import MAX_TURN_AGE
from shardproxy.admin.listen import admin_close, admin_listen
from shardproxy.admin.server import run_admin
from shardproxy.admin.status import Sources, Status, StatusBoard
from shardproxy.config import Config, parse_config
from shardproxy.dataplane import BoundEndpoint
from shardproxy.model import Address, Topology
from tests.unit.app.fake_native import FakeNative, dataplane_over

CONFIG = """
clusters:
  main:
    engine: redis
    endpoints: {primary: "127.0.0.1:7000"}
    node_auth: {password: {env: NODE_PASSWORD}}
    shards:
      - nodes: [{address: "127.0.0.1:7101", zone: "<a>"}, "127.0.0.1:7102"]
"""
ENDPOINT = BoundEndpoint(Address("127.0.0.1", 7000), Address("127.0.0.1", 7000))


class Admin:
    """What a test changes, and a client of the pages."""

    def __init__(self, client: httpx.AsyncClient, address: Address, config: Config | None = None) -> None:
        self.config = config
        self.native = FakeNative()
        self.dataplane = dataplane_over(self.native)
        self.topologies: dict[str, Topology] = {}
        self.status = StatusBoard(
            Status(clusters=("main",), endpoints={"main": (ENDPOINT,)}, reloads=2, reloads_refused=1)
        )
        self.address = address
        self._client = client

    @property
    def sources(self) -> Sources:
        plane, config = self.dataplane, self.config
        return Sources(
            self.status,
            plane.statistics,
            plane.clients,
            self.topologies,
            hot=plane.hot,
            big=plane.big,
            kill=plane.kill,
            config=None if config is None else lambda: config,
            workers=plane.workers,
        )

    def show_topology(self) -> None:
        self.topologies["main"] = parse_config(CONFIG).topologies()[0].with_epoch(6)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self._client.get(path, **options)


@asynccontextmanager
async def admin_on(address: Address, config: Config | None = None) -> AsyncIterator[Admin]:
    listener = admin_listen(address)
    name = listener.getsockname()
    bound = address if address.is_unix else Address(name[0], name[1])
    transport = httpx.AsyncHTTPTransport(uds=address.path) if address.is_unix else httpx.AsyncHTTPTransport()
    base = "http://admin" if address.is_unix else f"http://{bound}"
    with trio.fail_after(20):
        async with (
            httpx.AsyncClient(transport=transport, base_url=base, trust_env=False, timeout=20) as client,
            trio.open_nursery() as nursery,
        ):
            admin = Admin(client, bound, config)
            await nursery.start(run_admin, listener, admin.sources)
            yield admin
            nursery.cancel_scope.cancel()
    admin.dataplane.stop()
    admin_close(listener)


@asynccontextmanager
async def running_admin(config: Config | None = None) -> AsyncIterator[Admin]:
    async with admin_on(Address("127.0.0.1", 0), config) as admin:
        yield admin


async def test_livez_follows_the_workers() -> None:
    async with running_admin() as admin:
        assert (await admin.get("/livez")).text == "ok\n"
        admin.native.counters["workers"][1]["age"] = MAX_TURN_AGE + 1
        stuck = await admin.get("/livez")
        assert stuck.status_code == 503
        assert stuck.text == "worker 1 has not turned for 11 s\n"


async def test_readyz_follows_topology_and_drain() -> None:
    async with running_admin() as admin:
        unserved = await admin.get("/readyz")
        assert (unserved.status_code, unserved.text) == (503, "cluster main is not served yet\n")
        admin.show_topology()
        assert (await admin.get("/readyz")).status_code == 200
        admin.status.change(draining=True)
        draining = await admin.get("/readyz")
        assert (draining.status_code, draining.text) == (503, "draining\n")


async def test_topology_and_clients_are_json_without_secrets() -> None:
    async with running_admin() as admin:
        admin.show_topology()
        topology = (await admin.get("/api/topology")).json()
        assert topology["clusters"]["main"]["endpoints"] == ["127.0.0.1:7000"]
        assert topology["clusters"]["main"]["epoch"] == 6
        nodes = topology["clusters"]["main"]["shards"][0]["nodes"]
        assert [(node["role"], node["connections"]) for node in nodes] == [("primary", 4), ("replica", 0)]
        admin.native.client_rows = [{"id": n, "name": b"caf\xe9", "address": "[::1]:5"} for n in range(1500)]
        clients = (await admin.get("/api/clients")).json()
        assert clients["total"] == 1500
        assert len(clients["clients"]) == 1000
        assert clients["clients"][0] == {"id": 0, "name": "caf\ufffd", "address": "[::1]:5"}


async def test_the_config_is_shown_as_it_is_loaded() -> None:
    async with running_admin() as admin:
        unknown = await admin.get("/api/config")
        assert (unknown.status_code, unknown.json()) == (404, {"error": "no config is known here"})
    async with running_admin(parse_config(CONFIG)) as admin:
        shown = (await admin.get("/api/config")).json()
        assert shown["config"]["clusters"]["main"]["node_auth"] == {"password": {"env": "NODE_PASSWORD"}}
        assert "NODE_PASSWORD" in shown["text"]


async def test_metrics_come_in_the_format_asked_for() -> None:
    async with running_admin() as admin:
        plain = await admin.get("/metrics")
        assert plain.headers["content-type"].startswith("text/plain")
        assert 'shardproxy_commands_total{cluster="main",command="get",outcome="error"} 27.0' in plain.text
        asked = await admin.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
        assert asked.headers["content-type"].startswith("application/openmetrics-text")
        assert asked.text.endswith("# EOF\n")
        assert admin.native.asked_in not in (0, threading.get_ident()), "there may be hundreds of shards"


async def test_only_reading_is_possible() -> None:
    async with running_admin() as admin:
        assert (await admin.get("/nowhere")).status_code == 404
        assert (await admin._client.post("/api/topology", content=b"x" * 1000)).status_code == 405


async def test_web_pages_neither_read_nor_act() -> None:
    async with running_admin() as admin:
        for path in ("/", "/livez", "/metrics", "/api/status", "/nowhere"):
            refused = await admin.get(path, headers={"host": "evil.example"})
            assert refused.status_code == 403
            assert "evil.example" in refused.json()["error"]
        for headers in ({"host": "evil.example"}, {"sec-fetch-site": "cross-site"}):
            posted = await admin._client.post("/api/pause", json={"cluster": "main"}, headers=headers)
            assert posted.status_code == 403
        admin.status.change(names=("proxy",))
        assert (await admin.get("/livez", headers={"host": "proxy:9700"})).status_code == 200
        posted = await admin._client.post("/api/pause", json={"cluster": "main"})
        assert posted.status_code == 404  # it was understood, and there is no such cluster


FROM_ANOTHER_PAGE = (
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://evil"},
)
ACTED = ("pause", "promote", "jobs/start", "clients/kill")


@pytest.mark.parametrize("headers", FROM_ANOTHER_PAGE)
async def test_other_web_pages_have_nothing_done(headers: dict[str, str]) -> None:
    """An image is enough to have a scan started, unless that is refused too."""
    async with running_admin() as admin:
        for path in ("bigkeys/scan?cluster=main", "stream", "status", "usage?sample=9", "trace", "slowlog"):
            refused = await admin.get(f"/api/{path}", headers=headers)
            assert refused.status_code == 403, path
            assert "web pages are not answered" in refused.json()["error"]
        for path in ACTED:
            refused = await admin._client.post(f"/api/{path}", json={"cluster": "main"}, headers=headers)
            assert refused.status_code == 403, path
        for path in ("/", "/console/app.js", "/livez", "/metrics"):
            assert (await admin.get(path, headers=headers)).status_code == 200, path


async def test_a_failing_page_is_an_answer_and_the_rest_goes_on() -> None:
    async with running_admin() as admin:
        del admin.native.counters["buffers"]
        assert (await admin.get("/metrics")).status_code == 500
        assert (await admin.get("/api/clients")).status_code == 200


async def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    for _ in range(2):
        async with admin_on(Address(path=str(path))) as admin:
            assert (await admin.get("/livez")).status_code == 200
        assert not path.exists()


async def test_the_socket_file_of_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    abandoned = admin_listen(Address(path=str(path)))
    with pytest.raises(OSError, match="in use"):
        admin_listen(Address(path=str(path)))
    abandoned.close()
    admin_close(admin_listen(Address(path=str(path))))


async def test_a_reader_that_stops_reading_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for far more than socket buffers take, and reads none of it."""
    monkeypatch.setattr(slots, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(lifetime, "MAX_AGE", 0.2)
    async with running_admin() as admin:
        admin.native.client_rows = [{"id": n, "name": "x" * 20000} for n in range(1000)]
        async with await trio.open_tcp_stream(admin.address.host, admin.address.port) as stream:
            await stream.send_all(b"GET /api/clients HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked(0.05)
            while True:  # until its age is that of the limit: there is one slot
                try:
                    answer = await admin.get("/livez")
                    break
                except httpx.TransportError:
                    await trio.sleep(0.02)
            assert answer.status_code == 200


async def test_silent_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetime, "MAX_AGE", 0.1)
    async with (
        running_admin() as admin,
        await trio.open_tcp_stream(admin.address.host, admin.address.port) as stream,
    ):
        await stream.send_all(b"GET /livez HTTP/1.1\r\n")
        assert await stream.receive_some() == b""
