"""Listening sockets that this process has not opened: from the one it takes over from, or from systemd."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import structlog

from shardproxy.config import Config
from shardproxy.dataplane import DataPlane
from shardproxy.model import Address
from shardproxy.store.local.link import Link

ADMIN = "admin"
FIRST = 3  # the first descriptor that systemd passes: sd_listen_fds(3)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Inherited:
    """A socket that listens, and what it is for: by the address it was configured with, else by its name."""

    socket: socket.socket
    name: str = ""  # `admin`, `CLUSTER.KIND` as in `main.primary`, or anything
    address: str = ""  # as configured; empty where only the socket tells
    is_kept: bool = False  # by systemd, for the next process too


@dataclass(frozen=True, slots=True)
class Inheritance:
    """All of them; and the process before, if there is one that still serves."""

    sockets: tuple[Inherited, ...] = ()
    link: Link | None = None
    member: str = ""  # what that process is called among those that share its store

    def admin(self, config: Config) -> Inherited | None:
        """The socket for the admin API."""
        return next((one for one in self.sockets if _is_admin(one, config)), None)

    def give(self, config: Config, dataplane: DataPlane) -> None:
        """Have the data plane listen with those that endpoints are for; close what nothing is for."""
        left = [one for one in self.sockets if not _is_admin(one, config)]
        for name, address in _endpoints(config):
            found = next((one for one in left if _is_for(one, address)), None)
            found = found or next((one for one in left if not one.address and one.name == name), None)
            if found is not None:
                left.remove(found)
                dataplane.inherit(address, found.socket, is_kept=found.is_kept)
                found.socket.close()
        for one in left:
            log.warning("a socket that was passed serves nothing", socket=_described(one), name=one.name)
            one.socket.close()


def systemd_inheritance(environment: Mapping[str, str] = os.environ) -> Inheritance:
    """What systemd passed by socket activation: none, or those of LISTEN_FDS if they are for this process."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return Inheritance()
    count = int(environment.get("LISTEN_FDS", "0"))
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (count - len(names))
    sockets = []
    for number, name in zip(range(FIRST, FIRST + count), names, strict=False):
        os.set_inheritable(number, False)
        sockets.append(Inherited(socket.socket(fileno=number), name, is_kept=True))
    return Inheritance(tuple(sockets))


def _endpoints(config: Config) -> Iterator[tuple[str, str]]:
    """The name and the address of each endpoint."""
    for cluster, settings in config.clusters.items():
        for kind, endpoint, _ in settings.listened:
            for address in endpoint.addresses:
                yield f"{cluster}.{kind.value}", str(address)


def _is_admin(one: Inherited, config: Config) -> bool:
    return one.name == ADMIN or (not one.address and _is_for(one, str(config.admin)))


def _is_for(one: Inherited, address: str) -> bool:
    if one.address:
        return one.name != ADMIN and one.address == address
    return _bound(one.socket) in _resolved(Address.parse(address))


def _bound(listener: socket.socket) -> tuple[str, int]:
    name = listener.getsockname()
    return (name, 0) if isinstance(name, str) else (str(name[0]), int(name[1]))


def _resolved(address: Address) -> list[tuple[str, int]]:
    if address.is_unix:
        return [(address.path, 0)]
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError:
        return []
    return [(str(where[0]), int(where[1])) for *_, where in found]


def _described(one: Inherited) -> str:
    host, port = _bound(one.socket)
    return one.address or (str(Address(host, port)) if port else host)
