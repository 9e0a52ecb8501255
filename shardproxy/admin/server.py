"""HTTP for the admin pages: hypercorn's connections on our accept loop.

The loop is ours for what hypercorn does not have: from where one may connect, how many connections there are
(the data plane needs the descriptors too) and how many of one address, and how long one lives (hypercorn
shields its writes: a client that has stopped reading would hold its connection, and the shutdown, forever).
Who takes what is streamed to it may stay longer: lifetime.py.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIFramework, ConnectionState
from hypercorn.utils import wrap_app
from starlette.types import ASGIApp, Receive, Scope, Send

from shardproxy.access.inbound import Inbound
from shardproxy.admin.gate import NAMES, NOT_FROM_THERE
from shardproxy.admin.guard import is_loopback
from shardproxy.admin.http import HEADERS, admin_build
from shardproxy.admin.lifetime import LIFETIME, Lifetime
from shardproxy.admin.slots import Slots
from shardproxy.admin.status import Sources
from shardproxy.admin.stream import Stream

HANDSHAKE = 5.0  # seconds

log = structlog.get_logger()


async def run_admin(
    listener: socket.socket,
    sources: Sources,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the admin pages on a listening socket until cancelled."""
    following = Stream(sources, HEADERS)
    server = _Server(sources, following)
    slots = Slots()
    accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener.dup()))
    async with accepting, trio.open_nursery() as nursery:
        nursery.start_soon(following.run)
        task_status.started()
        while True:
            stream = await _accept(accepting)
            peer, inbound = _peer_of(stream), sources.status.now.inbound
            why = _why_not_served(stream, peer, inbound, slots)
            if peer is None or why is not None:
                stream.socket.close()  # before a byte is read or written
                if why is not None:
                    sources.audit.note("admin_refused", address=peer or "", why=why)
                continue
            nursery.start_soon(_connection_serve, server, stream, partial(slots.give, peer))


async def _accept(listener: trio.SocketListener) -> trio.SocketStream:
    while True:
        try:
            return await listener.accept()
        except OSError as error:  # out of descriptors or memory, or a client that left before we looked
            log.warning("admin cannot accept", why=str(error))
            await trio.sleep(1)


def _why_not_served(
    stream: trio.SocketStream, peer: str | None, inbound: Inbound | None, slots: Slots
) -> str | None:
    """Why whoever has connected is closed; else it has a slot. None, too, for one that has left."""
    if peer is None:
        return None
    if inbound is not None and not inbound.is_admitted(peer):
        return NOT_FROM_THERE
    # who connects from the very address that it connects to is on this machine
    is_here = not peer or is_loopback(peer) or peer == stream.socket.getsockname()[0]
    return None if slots.take(peer, is_here=is_here) else "too many connections"


def _peer_of(stream: trio.SocketStream) -> str | None:
    """The client's IP, empty on a unix socket; None: it has left before we looked."""
    try:
        return str(stream.socket.getpeername()[0]) if stream.socket.family != socket.AF_UNIX else ""
    except OSError:
        return None


async def _connection_serve(server: _Server, stream: trio.SocketStream, leave: Callable[[], None]) -> None:
    lifetime = Lifetime()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_close_in_the_end, stream, lifetime, nursery.cancel_scope)
            await server.serve(stream, lifetime)
            nursery.cancel_scope.cancel()
    except Exception as error:  # whatever ails one HTTP connection, the proxy serves on
        log.error("admin connection failed", exc_info=error)
    finally:
        leave()


async def _close_in_the_end(
    stream: trio.SocketStream, lifetime: Lifetime, connection: trio.CancelScope
) -> None:
    try:
        await lifetime.wait_over()
    finally:
        stream.socket.close()  # wakes a write, which cancelling alone does not
        connection.cancel()


class _Server:
    """What every connection shares."""

    def __init__(self, sources: Sources, following: Stream) -> None:
        self._config = _hypercorn_config()
        self._sources = sources
        self._pages: ASGIApp = admin_build(sources, following)

    async def serve(self, stream: trio.SocketStream, lifetime: Lifetime) -> None:
        context = self._sources.status.now.tls
        secured: trio.SSLStream[trio.SocketStream] | None = None
        if context is not None:
            secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        app = self._wrap(partial(_with_connection, self._pages, secured, lifetime))
        # TCPServer takes plain streams too (hypercorn's own listeners do so), whatever is annotated
        spoken = secured if secured is not None else cast(trio.SSLStream[trio.SocketStream], stream)
        await TCPServer(app, self._config, WorkerContext(None), ConnectionState({}), spoken)

    def _wrap(self, app: ASGIApp) -> AppWrapper:
        return wrap_app(cast(ASGIFramework, app), self._config.wsgi_max_body_size, "asgi")


async def _with_connection(
    app: ASGIApp,
    secured: trio.SSLStream[trio.SocketStream] | None,
    lifetime: Lifetime,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Tell the pages how long the connection lasts, and which names the client's verified certificate has."""
    names = certificate_names(secured.getpeercert() or {}) if secured is not None else ()
    await app({**scope, NAMES: names, LIFETIME: lifetime}, receive, send)


def certificate_names(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """The common name and the alternative names, as `ssl` gives a verified certificate."""
    subject = (pair for part in certificate.get("subject", ()) for pair in part)
    common = (value for kind, value in subject if kind == "commonName")
    return (*common, *(value for _, value in certificate.get("subjectAltName", ())))


def _hypercorn_config() -> Config:
    config = Config()
    config.errorlog = None  # failures are logged by the pages
    config.include_server_header = False
    config.ssl_handshake_timeout = HANDSHAKE
    config.keep_alive_timeout = 5
    config.read_timeout = None  # who is told what goes on says nothing meanwhile; its lifetime ends that
    config.h11_max_incomplete_size = 16 * 1024
    config.h2_max_concurrent_streams = 8
    config.websocket_max_message_size = 0
    return config
