"""A network of its own for one test, in which links can be cut without either end being told.

The test's thread moves into a new network namespace; what it starts there stays there, and nothing of it can
reach anything outside. All is on loopback: a node connects from an address that is only its own, so that a
packet tells who sent it.

    applications   127.0.0.1    node n    listens on 127.0.0.1:port, connects from 127.0.1.n
    a proxy        127.0.0.1    proxy n   of many listens on 127.0.0.1, connects from 127.0.2.n

A proxy of many is a user of its own, by which the kernel chooses the address that it connects from.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shardproxy.fleet import RedisNode
from shardproxy.fleet.process import LocalProcess

CLONE_NEWNET = 0x40000000  # linux/sched.h
OURS = "127.0.0.1"
PROGRAMS = {"nft": "nftables", "ip": "iproute2", "unshare": "util-linux", "setpriv": "util-linux"}
FIRST_USER = 61_001  # of the proxies
RIGHTS = "+dac_override"  # they run what is the tests' own
BUS = 10_000  # from a node's port to that of its cluster bus
TABLE = ("inet", "shardproxy_test")


def why_no_network() -> str | None:
    """Why links cannot be cut on this machine."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program, package in (
        ("nft", "nftables"),
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
        ("setpriv", "util-linux"),
    ):
        if shutil.which(program) is None:
            return f"{program} is missing: apt-get install {package}"
    tried = subprocess.run(
        ("unshare", "--net", "nft", "add", "table", *TABLE), capture_output=True, text=True, check=False
    )
    return f"this kernel refuses: {tried.stderr.strip()}" if tried.returncode else None


@contextmanager
def own_network() -> Iterator[None]:
    """Move this thread into an empty network with a loopback of its own, and back."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(libc.unshare(CLONE_NEWNET))
        try:
            run("ip", "link", "set", "lo", "up")
            run("ip", "rule", "add", "pref", "200", "lookup", "local")  # those of users come before
            run("ip", "rule", "delete", "pref", "0")
            run("nft", "add", "table", *TABLE)
            run("nft", "add", "chain", *TABLE, "arriving", "{ type filter hook input priority 0; }")
            yield
        finally:
            _check(libc.setns(home, CLONE_NEWNET))
    finally:
        os.close(home)


def _check(status: int) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


class Places:
    """Launches nodes so that each connects from an address of its own."""

    def __init__(self) -> None:
        self._hosts: dict[Path, str] = {}
        self._proxies: dict[int, str] = {}

    def launch(self, argv: Sequence[str], directory: Path) -> LocalProcess:
        host = self._hosts.setdefault(directory, f"127.0.1.{len(self._hosts) + 1}")
        options = (
            "--bind-source-addr",
            host,
            "--replica-announce-ip",
            OURS,  # where it listens
            "--protected-mode",
            "no",  # which takes 127.0.1.n for a stranger
        )
        return LocalProcess((*argv, *options), directory)

    def cut_from_proxy(self, node: RedisNode) -> None:
        """Neither hears the other, nor learns that it does not. So are applications that ask the node."""
        self._drop([OURS], node)

    def cut(self, primary: RedisNode, replicas: Sequence[RedisNode]) -> None:
        """The links of replicas to their primary, in both directions."""
        self._drop([self._hosts[replica.directory] for replica in replicas], primary)

    def cut_from_all(self, primary: RedisNode, replicas: Sequence[RedisNode]) -> None:
        """Everybody at the same moment."""
        self._drop([OURS, *(self._hosts[replica.directory] for replica in replicas)], primary)

    def of_proxy(self, number: int) -> tuple[str, ...]:
        """What is put before a proxy's command so that it connects from an address of its own."""
        user, host = FIRST_USER + number, f"127.0.2.{number + 1}"
        if number not in self._proxies:
            table, users = str(1000 + number), f"{user}-{user}"
            run("ip", "route", "add", "local", "127.0.0.0/8", "dev", "lo", "src", host, "table", table)
            run("ip", "rule", "add", "pref", "100", "uidrange", users, "lookup", table)
            self._proxies[number] = host
        rights = ("--inh-caps", RIGHTS, "--ambient-caps", RIGHTS)
        return ("setpriv", "--reuid", str(user), *rights)

    def host_of_proxy(self, number: int) -> str:
        return self._proxies[number]

    def cut_proxy(self, number: int, ports: Iterable[int]) -> None:
        """A proxy of many, from what listens there."""
        chain, host = " ".join((*TABLE, "arriving")), self._proxies[number]
        those = "{ " + ", ".join(map(str, ports)) + " }"
        run(
            "nft",
            f"add rule {chain} ip saddr {host} tcp dport {those} drop;"
            f"add rule {chain} ip daddr {host} tcp sport {those} drop",
        )

    def isolate(self, node: RedisNode) -> None:
        """From everything, whoever connected, the bus of a cluster's nodes included."""
        chain, host = " ".join((*TABLE, "arriving")), self._hosts[node.directory]
        ports = f"{{ {node.port}, {node.port + BUS} }}"
        run(
            "nft",
            f"add rule {chain} tcp dport {ports} drop; add rule {chain} tcp sport {ports} drop;"
            f"add rule {chain} ip saddr {host} drop; add rule {chain} ip daddr {host} drop",
        )

    def _drop(self, hosts: Sequence[str], node: RedisNode) -> None:
        chain = " ".join((*TABLE, "arriving"))
        those = "{ " + ", ".join(hosts) + " }"
        run(
            "nft",
            f"add rule {chain} ip saddr {those} tcp dport {node.port} drop;"
            f"add rule {chain} ip daddr {those} tcp sport {node.port} drop",
        )

    def mend(self) -> None:
        """All links are whole again."""
        run("nft", "flush", "chain", *TABLE, "arriving")
