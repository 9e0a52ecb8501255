"""Many cheap engines in one process: they answer what a health check asks, each on a port of its own.

`python -m tests.bench.fake_nodes SHARDS NODES` prints the ports as JSON, shard by shard, and serves until its
standard input ends. Knows nothing of keys.
"""

from __future__ import annotations

import contextlib
import json
import resource
import selectors
import socket
import sys
import time

import hiredis

HOST = "127.0.0.1"
REPLID = "6cb38ce36ce2c1dee31e2e247f8f28a70365ac9c"
PING = 14  # bytes of history, one a second


def run_id_of(port: int) -> str:
    return f"{port:040x}"


class FakeNode:
    """One engine of a shard; the shard's first is its primary."""

    def __init__(self, primary_port: int | None) -> None:
        self.listener = socket.create_server((HOST, 0))
        self.listener.setblocking(False)
        self.port = int(self.listener.getsockname()[1])
        self.run_id = run_id_of(self.port)
        self.primary_port = primary_port
        self.replicas: list[int] = []

    def answer(self, request: list[bytes]) -> bytes:
        match [word.upper() for word in request]:
            case [b"PING"]:
                return b"+PONG\r\n"
            case [b"INFO", *sections]:
                text = (self._server() if b"SERVER" in sections else "") + (
                    self._replication() if b"REPLICATION" in sections else ""
                )
                return b"$%d\r\n%b\r\n" % (len(text), text.encode())
            case [b"CONFIG", b"GET", b"REPL-PING-REPLICA-PERIOD"]:
                return b"*2\r\n$24\r\nrepl-ping-replica-period\r\n$1\r\n1\r\n"
            case [b"CONFIG", b"GET", *_]:
                return b"*0\r\n"
            case [b"PUBSUB", *_]:
                return b"*2\r\n$18\r\n__sentinel__:hello\r\n:0\r\n"
            case [b"CLIENT", b"LIST", *_]:
                return b"$0\r\n\r\n"
        return b"+OK\r\n"

    def _server(self) -> str:
        fields = ["redis_version:7.0.15", "redis_mode:standalone", "os:Linux 6.1 x86_64", "arch_bits:64"]
        more = [f"run_id:{self.run_id}", f"tcp_port:{self.port}", "uptime_in_seconds:100", "hz:10"]
        return "\r\n".join(["# Server", *fields, *more, ""])

    def _replication(self) -> str:
        offset = PING * int(time.monotonic())
        lines = ["# Replication"]
        if self.primary_port is None:
            lines += ["role:master", f"connected_slaves:{len(self.replicas)}"]
            lines += [
                f"slave{number}:ip={HOST},port={port},state=online,offset={offset},lag=0"
                for number, port in enumerate(self.replicas)
            ]
        else:
            lines += ["role:slave", f"master_host:{HOST}", f"master_port:{self.primary_port}"]
            lines += ["master_link_status:up", "master_last_io_seconds_ago:0", "master_sync_in_progress:0"]
            lines += [f"slave_read_repl_offset:{offset}", f"slave_repl_offset:{offset}", "slave_priority:100"]
            lines += ["slave_read_only:1", "replica_announced:1", "connected_slaves:0"]
        lines += ["master_failover_state:no-failover", f"master_replid:{REPLID}"]
        lines += ["master_replid2:" + "0" * 40, f"master_repl_offset:{offset}", "second_repl_offset:-1"]
        lines += ["repl_backlog_active:1", "repl_backlog_size:1048576", "repl_backlog_first_byte_offset:1"]
        return "\r\n".join([*lines, "repl_backlog_histlen:1400", ""])


def start_nodes(shards: int, nodes: int) -> list[list[FakeNode]]:
    found = []
    for _ in range(shards):
        primary = FakeNode(None)
        replicas = [FakeNode(primary.port) for _ in range(1, nodes)]
        primary.replicas = [replica.port for replica in replicas]
        found.append([primary, *replicas])
    return found


def serve(nodes: list[FakeNode]) -> None:
    selector = selectors.DefaultSelector()
    for node in nodes:
        selector.register(node.listener, selectors.EVENT_READ, node)
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    readers: dict[socket.socket, tuple[FakeNode, hiredis.Reader]] = {}
    while True:
        for key, _ in selector.select():
            if key.data is None:
                return
            if isinstance(key.data, FakeNode):
                with contextlib.suppress(BlockingIOError):
                    connection, _peer = key.data.listener.accept()
                    connection.setblocking(False)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    readers[connection] = (key.data, hiredis.Reader())
                    selector.register(connection, selectors.EVENT_READ, connection)
            elif not talk(key.data, *readers[key.data]):
                selector.unregister(key.data)
                del readers[key.data]
                key.data.close()


def talk(connection: socket.socket, node: FakeNode, reader: hiredis.Reader) -> bool:
    """Answer what has come; False when the connection is over."""
    try:
        data = connection.recv(65536)
        reader.feed(data)
        answers = []
        while isinstance(request := reader.gets(), list):
            answers.append(node.answer(request))
        if answers:
            connection.sendall(b"".join(answers))
    except OSError:
        return False
    return bool(data)


if __name__ == "__main__":
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    started = start_nodes(int(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps([[node.port for node in shard] for shard in started]), flush=True)
    serve([node for shard in started for node in shard])
