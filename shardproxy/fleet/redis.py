"""A redis-server (or valkey-server) of our own: how it is started, and how it is asked who it is."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hiredis

from shardproxy.fleet.node import EngineNode
from shardproxy.fleet.process import Launch, LocalProcess
from shardproxy.model import Address
from shardproxy.model.replication import DEAD_END

ASK_TIMEOUT = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class EngineTls:
    """Files of PEM, by which nodes speak TLS and nothing else, to each other too."""

    certificate: Path
    key: Path
    ca: Path
    wants_certificates: bool = False  # of whoever connects

    def options(self, port: int, host: str) -> list[str]:
        wants = "yes" if self.wants_certificates else "no"
        listen = ["--port", "0", "--tls-port", str(port), "--bind", host, "--tls-replication", "yes"]
        files = ["--tls-cert-file", str(self.certificate), "--tls-key-file", str(self.key)]
        return [*listen, *files, "--tls-ca-cert-file", str(self.ca), "--tls-auth-clients", wants]

    def secure(self, sock: socket.socket) -> socket.socket:
        """Speak TLS as the nodes do among each other, whatever the node's name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self.certificate, self.key)
        return context.wrap_socket(sock)


class RedisNode(EngineNode):
    """A primary, or a replica of `replica_of`; it keeps nothing on disk unless `args` say so."""

    programs = ("redis-server", "valkey-server")
    package = "redis-server"

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "node",
        replica_of: RedisNode | None = None,
        is_managed: bool = False,
        password: str | None = None,
        tls: EngineTls | None = None,
        host: str = "127.0.0.1",
        unix: bool = False,
        args: Sequence[str] = (),
        program: str | None = None,
        launch: Launch = LocalProcess,
    ) -> None:
        super().__init__(
            directory, name=name, host=host, unix=unix, args=args, program=program, launch=launch
        )
        self.replica_of = replica_of
        self.is_managed = is_managed
        self.password = password
        self.tls = tls

    def command(self) -> Sequence[str]:
        listen: tuple[str, ...] = (
            ("--port", "0", "--unixsocket", self.address.path)
            if self.address.is_unix
            else ("--port", str(self.port), "--bind", self.address.host)
        )
        if self.tls is not None:
            listen = tuple(self.tls.options(self.port, self.address.host))
        # One argument list, not a file: the process list then shows what runs.
        options = [*listen, "--dir", str(self.directory), "--daemonize", "no"]
        options += ["--save", "", "--appendonly", "no"]
        options += ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"]
        if self.password is not None:
            options += ["--requirepass", self.password, "--masterauth", self.password]
        if self.replica_of is not None:
            options += ["--replicaof", self.replica_of.address.host, str(self.replica_of.port)]
        elif self.is_managed:  # a primary that came back empty would wipe its replicas
            options += ["--replicaof", DEAD_END.host, str(DEAD_END.port)]
        return options

    def ask(self, *command: str | bytes | int, timeout: float = ASK_TIMEOUT) -> Any:
        """Run one command on a connection of its own; raise OSError or hiredis.ReplyError."""
        with self._connect(timeout) as sock:
            reader = hiredis.Reader()
            if self.password is not None:
                check(exchange(sock, reader, ("AUTH", self.password)))
            return check(exchange(sock, reader, command))

    def ask_as(self, password: str, *command: str | bytes | int) -> Any:
        """As `ask`, with another password than the fleet's."""
        with self._connect(ASK_TIMEOUT) as sock:
            reader = hiredis.Reader()
            check(exchange(sock, reader, ("AUTH", password)))
            return check(exchange(sock, reader, command))

    def _connect(self, timeout: float) -> socket.socket:
        sock = connect(self.address, timeout)
        return sock if self.tls is None else self.tls.secure(sock)

    def info(self, *sections: str) -> dict[str, str]:
        """INFO as a dictionary of its fields."""
        lines = bytes(self.ask("INFO", *sections)).decode(errors="replace").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def why_not_ready(self) -> str | None:
        try:
            info = self.info()
        except (OSError, EOFError) as e:
            return f"it does not answer: {e}"
        except hiredis.ReplyError as e:
            return f"it refuses: {e}"
        if info.get("process_id") != str(self.pid):
            return f"process {info.get('process_id')} answers there, not {self.pid}"
        if info.get("loading") != "0":
            return "it is loading its data"
        if self.replica_of is not None and info.get("master_link_status") != "up":
            return f"its link to {self.replica_of.address} is not up"
        return None


def connect(address: Address, timeout: float) -> socket.socket:
    if not address.is_unix:
        return socket.create_connection((address.host, address.port), timeout)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(timeout)
        sock.connect(address.path)
    except OSError:
        sock.close()
        raise
    return sock


def exchange(sock: socket.socket, reader: hiredis.Reader, command: tuple[str | bytes | int, ...]) -> Any:
    sock.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub is wrong
    while (reply := reader.gets()) is False:
        data = sock.recv(65536)
        if not data:
            raise EOFError("the connection was closed")
        reader.feed(data)
    return reply


def check(reply: Any) -> Any:
    if isinstance(reply, hiredis.ReplyError):
        raise reply
    return reply
