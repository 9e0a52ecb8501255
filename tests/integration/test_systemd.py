"""What systemd does for a service, played by the test: it passes sockets, and hears how the service is."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from shardproxy.fleet import Fleet
from shardproxy.model import Address
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import cluster_of, wait_until, with_ports

# as systemd: descriptors from 3 on, their count and names, and whom they are for
EXEC = """
import os, sys
count = int(sys.argv[1])
for number, passed in enumerate(sys.argv[2].split(",") if count else []):
    os.dup2(int(passed), 100 + number)
for number in range(count):
    os.dup2(100 + number, 3 + number)
    os.set_inheritable(3 + number, True)
os.environ |= {"LISTEN_FDS": str(count), "LISTEN_PID": str(os.getpid())}
os.execv(sys.executable, [sys.executable, "-m", "shardproxy", *sys.argv[3:]])
"""


class Manager:
    """One service, its sockets, and what it has said."""

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        self.directory = directory
        self.config = with_ports(config)
        self.file = directory / "config.yaml"
        self.write()
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(directory / "notify"))
        self.notified.settimeout(20)
        self.said: list[str] = []
        self.service: subprocess.Popen[bytes] | None = None
        self.log = directory / "log"

    def write(self) -> None:
        self.file.write_text(json.dumps(self.config))

    def start(
        self, sockets: Sequence[tuple[str, socket.socket]] = (), *, watchdog: float = 0.0
    ) -> subprocess.Popen[bytes]:
        numbers = [one.fileno() for _, one in sockets]
        environment = {
            "LISTEN_FDNAMES": ":".join(name for name, _ in sockets),
            "NOTIFY_SOCKET": str(self.directory / "notify"),
            "XDG_STATE_HOME": str(self.directory),
            **({"WATCHDOG_USEC": str(int(watchdog * 1e6))} if watchdog else {}),
        }
        command = (sys.executable, "-c", EXEC, str(len(numbers)), ",".join(map(str, numbers)))
        with self.log.open("ab") as log:
            self.service = subprocess.Popen(
                (*command, "run", "--config", str(self.file)),
                env={**os.environ, **environment},
                pass_fds=numbers,
                stdout=log,
                stderr=log,
            )
        return self.service

    def hear(self, word: str) -> str:
        """Wait until the service says this, be it a while ago."""
        while True:
            for said in self.said:
                if word in said:
                    self.said = self.said[self.said.index(said) + 1 :]
                    return said
            self.said.append(self.notified.recv(4096).decode())

    def end(self) -> None:
        if self.service is not None and self.service.poll() is None:
            self.service.kill()
            self.service.wait()
        self.notified.close()


@pytest.fixture
def manager(fleet: Fleet, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path, {"workers": 1, "clusters": {"main": cluster_of(fleet)}})
    try:
        yield manager
    finally:
        manager.end()


def listening(address: Address) -> socket.socket:
    return socket.create_server((address.host, address.port))


def endpoint(manager: Manager) -> Address:
    return Address.parse(manager.config["clusters"]["main"]["endpoints"]["configuration"])


def admin_of(manager: Manager) -> socket.socket:
    admin = Address.parse(manager.config["admin"])
    return socket.create_connection((admin.host, admin.port), 10)


def stopped(service: subprocess.Popen[bytes], manager: Manager) -> None:
    service.send_signal(signal.SIGTERM)
    assert service.wait(20) == 0, manager.log.read_text()


@pytest.mark.parametrize("by", ["address", "name"])
def test_sockets_are_served_and_outlive_the_service(manager: Manager, by: str) -> None:
    admin, at = Address.parse(manager.config["admin"]), endpoint(manager)
    name = "shardproxy.socket"
    if by == "name":  # the config leaves the address open
        manager.config["clusters"]["main"]["endpoints"]["configuration"] = "127.0.0.1:0"
        manager.write()
        name = "main.configuration"
    with ExitStack() as stack:
        sockets = [(name, listening(at)), ("shardproxy.socket", listening(admin))]
        for _, one in sockets:
            stack.enter_context(one)
        early = stack.enter_context(closing(Wire(at)))
        early.send_command("PING")  # before anybody is there to accept it
        service = manager.start(sockets)
        manager.hear("READY=1")
        assert early.reply() == b"PONG"
        stopped(service, manager)
        between = stack.enter_context(closing(Wire(at)))
        between.send_command("PING")
        service = manager.start(sockets)
        assert between.reply() == b"PONG"
        manager.hear("READY=1")
        stopped(service, manager)
    assert "serves nothing" not in manager.log.read_text()


def test_sockets_for_somebody_else_are_let_be(manager: Manager) -> None:
    with listening(Address("127.0.0.1", 0)) as stranger:
        service = manager.start([("other", stranger)])
        manager.hear("READY=1")
        assert "a socket that was passed serves nothing" in manager.log.read_text()
        with closing(Wire(endpoint(manager))) as client:
            assert client.ask("PING") == b"PONG"
        stopped(service, manager)


def test_it_says_when_it_is_ready_reloads_and_stops(manager: Manager) -> None:
    service = manager.start()
    assert "STATUS=serving main" in manager.hear("READY=1")
    service.send_signal(signal.SIGHUP)
    reloading = manager.hear("RELOADING=1")
    (when,) = (line for line in reloading.splitlines() if line.startswith("MONOTONIC_USEC="))
    assert int(when.partition("=")[2]) > 0
    manager.hear("READY=1")
    service.send_signal(signal.SIGTERM)
    assert "STATUS=draining: SIGTERM" in manager.hear("STOPPING=1")
    assert service.wait(20) == 0


def test_the_watchdog_hears_of_it_as_long_as_it_lives(manager: Manager) -> None:
    service = manager.start(watchdog=0.9)
    for _ in range(3):
        manager.hear("WATCHDOG=1")
    begun = time.monotonic()
    os.kill(service.pid, signal.SIGSTOP)
    manager.notified.settimeout(1.5)
    with suppress(TimeoutError):
        while manager.notified.recv(4096):  # those that were said before
            assert time.monotonic() < begun + 10, "it goes on though it stands still"
    os.kill(service.pid, signal.SIGCONT)
    manager.notified.settimeout(20)
    manager.hear("WATCHDOG=1")
    stopped(service, manager)


def test_new_clients_are_let_in_while_balancers_notice(manager: Manager) -> None:
    manager.config["timeouts"] = {"drain_delay": "2s"}
    manager.write()
    service = manager.start()
    manager.hear("READY=1")
    service.send_signal(signal.SIGTERM)
    manager.hear("STOPPING=1")
    at = endpoint(manager)
    with closing(Wire(at)) as late, closing(admin_of(manager)) as asked:
        assert late.ask("PING") == b"PONG"
        asked.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 503 " in asked.recv(4096).splitlines()[0]
    assert service.wait(20) == 0
    wait_until(lambda: refused(at), "nobody listens")


def refused(address: Address) -> bool:
    try:
        Wire(address).close()
    except ConnectionRefusedError:
        return True
    return False
