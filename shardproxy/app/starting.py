"""What a process starts with: its data plane, descriptors for it, and where the admin API listens."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from shardproxy.access.audit import Audit
from shardproxy.admin.listen import admin_close, admin_listen
from shardproxy.app.inheritance import Inheritance
from shardproxy.app.reading import AllRead
from shardproxy.commands.table import Table
from shardproxy.config import Config
from shardproxy.config.files import Fingerprint
from shardproxy.dataplane import BoundEndpoint, DataPlane
from shardproxy.dataplane.cpus import workers_of
from shardproxy.dataplane.descriptors import descriptors_raise, descriptors_share, wanted_by, why_too_few
from shardproxy.model import Address
from shardproxy.store.interface import Store
from shardproxy.topology.discovery import Finder
from shardproxy.topology.refusal import explain

log = structlog.get_logger()


class StartError(Exception):
    """Why the proxy cannot start, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a started proxy listens."""

    endpoints: Mapping[str, tuple[BoundEndpoint, ...]]
    admin: Address


@dataclass(frozen=True, slots=True)
class Opened:
    """What a process has opened and read before it serves anything."""

    config: Config
    config_path: Path | None
    read: AllRead
    files: Mapping[Path, Fingerprint]  # that was read from
    table: Table
    dataplane: DataPlane
    listener: socket.socket  # of the admin API
    store: Store
    audit: Audit
    finder: Finder
    inheritance: Inheritance
    handover: Path | None  # where the next process finds this one


def dataplane_start(config: Config, table: Table) -> DataPlane:
    workers = workers_of(config)
    try:
        dataplane = DataPlane.start(workers=workers, table=table.encode(), buffers=config.limits.buffers)
    except ValueError as error:
        raise StartError(f"the data plane: {error}") from error
    descriptors_give(dataplane, config, workers)
    return dataplane


def descriptors_give(dataplane: DataPlane, config: Config, workers: int) -> None:
    """Refuse clients there are no descriptors for: they would wait for ever, and probes behind them."""
    available, wanted = descriptors_raise(), wanted_by(config, workers)
    share = descriptors_share(available, wanted)
    dataplane.limit(clients=share.clients, dedicated=share.dedicated)
    too_few = why_too_few(available, wanted)
    if too_few and share.clients < wanted.clients:
        log.warning("limit of clients lowered", clients=share.clients, why=too_few)
    if too_few and share.dedicated < wanted.own:
        log.warning("limit of dedicated connections lowered", dedicated=share.dedicated, why=too_few)


@contextlib.contextmanager
def admin_listening(
    address: Address, inherited: socket.socket | None, *, is_kept: bool
) -> Iterator[socket.socket]:
    """Listen, unless somebody does already. Whoever closes the socket leaves it to another process."""
    try:
        listener = inherited or admin_listen(address)
    except OSError as error:
        raise StartError(f"admin address {address}: {explain(error)}") from error
    listener.setblocking(False)
    try:
        yield listener
    finally:
        if is_kept:
            listener.close()
        elif listener.fileno() >= 0:
            admin_close(listener)


def bound_address(listener: socket.socket) -> Address:
    name = listener.getsockname()
    return Address(path=name) if isinstance(name, str) else Address(host=name[0], port=name[1])
