"""A pool of three memcached, the proxy before it, and one plain memcached whose word counts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from shardproxy.fleet import Fleet
from shardproxy.fleet.process import Launch
from shardproxy.model import Address, Engine
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import Proxy, StartProxy, config_of

LAST = b"set the-end-of-the-table 0 0 1\r\nx\r\nget the-end-of-the-table\r\n"
LAST_REPLY = b"STORED\r\nVALUE the-end-of-the-table 0 1\r\nx\r\nEND\r\n"


@dataclass(frozen=True)
class Pool:
    """The proxy, its nodes, and the oracle."""

    proxy: Proxy
    fleet: Fleet
    plain: Address

    def empty(self) -> None:
        for address in (self.plain, *(node.address for node in self.fleet.nodes)):
            with Asker(address) as asker:
                assert asker.ask(b"flush_all\r\n") == b"OK\r\n"


class Asker:
    """A connection that is asked one line at a time."""

    def __init__(self, address: Address) -> None:
        self.wire = Wire(address)

    def ask(self, request: bytes) -> bytes:
        """Send a request; return what comes before the answer to one more."""
        return said(self.wire, [request]).removesuffix(b"<closed>")

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()


def said(wire: Wire, pieces: list[bytes]) -> bytes:
    """Send the pieces and one more request; return all that comes before its reply, and whether it closes."""
    try:
        for piece in (*pieces, LAST):
            wire.send(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass  # closed at an earlier piece: what it said before is still to be read
    data = b""
    while not data.endswith(LAST_REPLY):
        try:
            chunk = wire.socket.recv(65536)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            return data + b"<closed>"
        data += chunk
    return data.removesuffix(LAST_REPLY)


@contextmanager
def liar(reply: bytes | None) -> Iterator[Address]:
    """A node that greets as memcached does, answers one request by these bytes, and closes; or by nothing."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            greeted = False
            while data := connection.recv(65536):
                if not greeted and b"version" in data:
                    greeted = True
                    connection.sendall(b"VERSION 1.6.18\r\n")
                    data = data.partition(b"version\r\n")[2]
                if data and reply is not None:
                    connection.sendall(reply)
                    return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield Address("127.0.0.1", listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def memcached_fleet(launch: Launch, nodes: int = 3, **options: Any) -> Fleet:
    return Fleet(shards=nodes, replicas=0, engine=Engine.MEMCACHED, launch=launch, **options)


@pytest.fixture(scope="package")
def session_pool(launch: Launch) -> Iterator[Pool]:
    with memcached_fleet(launch) as fleet, memcached_fleet(launch, nodes=1) as plain:
        proxy = Proxy(config_of(fleet, workers=2))
        try:
            yield Pool(proxy, fleet, plain.nodes[0].address)
        finally:
            proxy.stop()


@pytest.fixture
def pool(session_pool: Pool) -> Pool:
    """The shared pool, empty. A test that hurts nodes starts its own."""
    session_pool.empty()
    return session_pool


StartPool = Callable[..., tuple[Proxy, Fleet]]


@pytest.fixture
def start_pool(start_fleet: Callable[..., Fleet], start_proxy: StartProxy) -> StartPool:
    """Start a fleet of memcached and a proxy before it; options go to the cluster."""

    def start(nodes: int = 3, *, args: tuple[str, ...] = (), **options: Any) -> tuple[Proxy, Fleet]:
        fleet = start_fleet(shards=nodes, replicas=0, engine=Engine.MEMCACHED, args=args)
        return start_proxy(config_of(fleet, workers=1, **options)), fleet

    return start
