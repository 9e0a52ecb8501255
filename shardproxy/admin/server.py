"""HTTP for the admin pages: hypercorn's connections on our accept loop.

The loop is ours for two bounds that hypercorn does not have: how many connections there are (the data plane
needs the descriptors too), and how long one lives (hypercorn shields its writes, so a client that has stopped
reading would hold its connection, and the shutdown, forever).
"""

from __future__ import annotations

import socket
from typing import cast

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState
from hypercorn.utils import wrap_app

from shardproxy.admin.http import admin_build
from shardproxy.admin.status import Sources

MAX_CONNECTIONS = 64
MAX_CONNECTION_AGE = 60.0  # seconds

log = structlog.get_logger()


async def run_admin(
    listener: socket.socket,
    sources: Sources,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the admin pages on a listening socket until cancelled."""
    server = _Server(sources)
    free = trio.Semaphore(MAX_CONNECTIONS)
    accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener.dup()))
    async with accepting, trio.open_nursery() as nursery:
        task_status.started()
        while True:
            await free.acquire()
            nursery.start_soon(_connection_serve, server, await _accept(accepting), free)


async def _accept(listener: trio.SocketListener) -> trio.SocketStream:
    while True:
        try:
            return await listener.accept()
        except OSError as error:  # out of descriptors or memory, or a client that left before we looked
            log.warning("admin cannot accept", why=str(error))
            await trio.sleep(1)


async def _connection_serve(server: _Server, stream: trio.SocketStream, free: trio.Semaphore) -> None:
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_close_in_the_end, stream, nursery.cancel_scope)
            await server.serve(stream)
            nursery.cancel_scope.cancel()
    except Exception as error:  # whatever ails one HTTP connection, the proxy serves on
        log.error("admin connection failed", exc_info=error)
    finally:
        free.release()


async def _close_in_the_end(stream: trio.SocketStream, connection: trio.CancelScope) -> None:
    try:
        await trio.sleep(MAX_CONNECTION_AGE)
    finally:
        stream.socket.close()  # wakes a write, which cancelling alone does not
        connection.cancel()


class _Server:
    """What every connection shares."""

    def __init__(self, sources: Sources) -> None:
        self._config = _hypercorn_config()
        app = cast(ASGIFramework, admin_build(sources))
        self._app = wrap_app(app, self._config.wsgi_max_body_size, "asgi")

    async def serve(self, stream: trio.SocketStream) -> None:
        # TCPServer takes plain streams too (hypercorn's own listeners do so); its annotation says TLS only.
        tls_or_not = cast(trio.SSLStream[trio.SocketStream], stream)
        await TCPServer(self._app, self._config, WorkerContext(None), ConnectionState({}), tls_or_not)


def _hypercorn_config() -> Config:
    config = Config()
    config.errorlog = None  # failures are logged by the pages
    config.include_server_header = False
    config.keep_alive_timeout = 5
    config.read_timeout = 5
    config.h11_max_incomplete_size = 16 * 1024
    config.h2_max_concurrent_streams = 8
    config.websocket_max_message_size = 0
    return config
