"""A real HTTP server on loopback as a source."""

from __future__ import annotations

import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
import trio

from shardproxy.caching.sources.guarded import GuardedSource
from shardproxy.caching.sources.interface import (
    Body,
    SourceBusyError,
    SourceDownError,
    SourceError,
    SourceRefusedError,
)
from shardproxy.caching.sources.opening import SourceSetupError, open_sources
from shardproxy.config.caching import Caching
from shardproxy.fleet import free_port
from tests.fixtures.certificates import Authority
from tests.fixtures.rules import loading, parts_of

LIMIT = 10_000


class Handler(BaseHTTPRequestHandler):
    """Answers what the last segment of the path says: a status, or how to behave."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.asked.append((self.path, self.headers.get("authorization"), self.headers.get("x-from")))
        what = self.path.rpartition("/")[2]
        if what == "slow":
            server.released.wait(30)
        if what == "large":
            self._say(200, b"x" * (LIMIT + 1))
        elif what == "endless":
            self.send_response(200)
            self.end_headers()
            try:
                while not server.released.is_set():
                    self.wfile.write(b"x" * 10_000)
            except OSError:
                server.broken.set()
            self.close_connection = True
        elif what == "cut":
            self.send_response(200)
            self.send_header("content-length", "10")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        elif what.isdigit():
            self._say(int(what), b"what it says")
        else:
            self._say(200, unquote(self.path).encode())

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("location", "/elsewhere")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.released = threading.Event()
        self.broken = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def caching(**source: object) -> Caching:
    rule = {"match": "k:{id}", "ttl": 1, "load": {"source": "main", "path": "/{id}"}}
    return Caching.model_validate({"sources": {"main": source}, "rules": [rule]})


@pytest.fixture
async def source(server: Server, tmp_path: Path) -> AsyncIterator[GuardedSource]:
    token = tmp_path / "token"
    token.write_text("secret-token")
    settings = caching(
        url=server.url,
        timeout="1s",
        connections=2,
        waiting=1,
        token={"file": str(token)},
        headers={"x-from": "cache"},
        breaker={"failures": 1000},
    )
    async with open_sources(settings.sources, tmp_path) as sources:
        yield sources["main"]


async def fetch(source: GuardedSource, part: str, path: str = "/items/{id}") -> Body | None:
    rule = loading("k:{id}", path=path, limit=LIMIT)
    loaded = await source.load(rule, parts_of(rule, f"k:{part}".encode()))
    assert loaded is None or isinstance(loaded, Body)
    return loaded


async def test_a_value_is_what_the_server_answers(server: Server, source: GuardedSource) -> None:
    assert await fetch(source, "42", "/users/{id}?full=yes&of={id}") == Body(b"/v1/users/42?full=yes&of=42")
    assert server.asked == [("/v1/users/42?full=yes&of=42", "Bearer secret-token", "cache")]


@pytest.mark.parametrize(
    "part",
    ["a/b", "../x", "a?b=c", "a#b", "a&b=c", "%2e%2e", "a%2Fb", "é", "a b", "\r\nHost: x",
     "@evil.com", "://", "a;b", "+"],
)  # fmt: skip
async def test_a_part_stays_within_its_segment(server: Server, source: GuardedSource, part: str) -> None:
    assert await fetch(source, part, "/users/{id}/x?q={id}&r=1") == Body(
        f"/v1/users/{part}/x?q={part}&r=1".encode()
    )
    asked = server.asked[-1][0]
    path, _, query = asked.partition("?")
    assert path.count("/") == 4
    assert query.count("&") == query.count("=") - 1 == 1
    assert "#" not in asked


async def test_a_key_that_makes_no_url_is_not_one_without_a_value(
    server: Server, source: GuardedSource
) -> None:
    with pytest.raises(SourceRefusedError, match="makes no URL"):
        await fetch(source, "x" * 70_000)
    assert not server.asked


@pytest.mark.parametrize("part", [".", ".."])
async def test_a_part_that_servers_take_away_has_no_value(
    server: Server, source: GuardedSource, part: str
) -> None:
    assert await fetch(source, part) is None
    assert not server.asked
    assert await fetch(source, part, "/file{id}") == Body(f"/v1/file{part}".encode())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, None),
        (410, None),
        (301, SourceRefusedError),
        (400, SourceRefusedError),
        (401, SourceRefusedError),
        (429, SourceBusyError),
        (500, SourceDownError),
        (503, SourceDownError),
    ],
)
async def test_a_status_says_who_is_at_fault(
    source: GuardedSource, server: Server, status: int, error: type[SourceError] | None
) -> None:
    if error is None:
        assert await fetch(source, str(status)) is None
    else:
        with pytest.raises(error, match=str(status)):
            await fetch(source, str(status))
    assert len(server.asked) == 1, "redirects are not followed"


async def test_a_value_that_is_too_large_is_not_read_to_its_end(
    server: Server, source: GuardedSource
) -> None:
    for what in ("large", "endless"):
        with pytest.raises(SourceRefusedError, match="larger than 10000 bytes"):
            await fetch(source, what)
    assert await trio.to_thread.run_sync(server.broken.wait, 10)


async def test_half_a_value_is_none(source: GuardedSource) -> None:
    with pytest.raises(SourceDownError):
        await fetch(source, "cut")


async def test_a_slow_server_costs_its_deadline_and_others_wait_or_are_refused(
    server: Server, source: GuardedSource
) -> None:
    raised: list[str] = []

    async def asks() -> None:
        with pytest.raises(SourceError) as failed:
            await fetch(source, "slow")
        raised.append(str(failed.value))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(asks)
    assert raised[0] == "too many wait for the source"
    assert raised.count("the source did not answer in time") >= 2
    assert len(raised) == 4
    server.released.set()
    assert await fetch(source, "x") == Body(b"/v1/items/x")


async def test_a_server_that_is_not_there_is_down(tmp_path: Path) -> None:
    settings = caching(url=f"http://127.0.0.1:{free_port()}")
    async with open_sources(settings.sources, tmp_path) as sources:
        with pytest.raises(SourceDownError, match="cannot be asked"):
            await fetch(sources["main"], "x")


async def test_a_certificate_is_verified_against_the_ca_that_is_given(server: Server, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    Authority(tmp_path, "stranger")
    own = authority.issue("server", "127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own["certificate"], own["key"])
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http", "https", 1)
    for ca, is_trusted in (("ca.pem", True), ("stranger.pem", False)):
        async with open_sources(caching(url=url, ca=ca).sources, tmp_path) as sources:
            if is_trusted:
                assert await fetch(sources["main"], "x") == Body(b"/v1/items/x")
            else:
                with pytest.raises(SourceDownError) as failed:
                    await fetch(sources["main"], "x")
                assert "CERTIFICATE_VERIFY_FAILED" in failed.value.detail
    with pytest.raises(SourceSetupError, match=r"source main: ca .*cannot be read"):
        async with open_sources(caching(url=url, ca="no.pem").sources, tmp_path):
            pass
