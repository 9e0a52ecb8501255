"""What a process starts with: its data plane, descriptors for it, and where the admin API listens."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import structlog

from shardproxy.admin.listen import admin_close, admin_listen
from shardproxy.commands.table import Table
from shardproxy.config import Config
from shardproxy.dataplane import BoundEndpoint, DataPlane
from shardproxy.dataplane.cpus import cpu_count
from shardproxy.dataplane.descriptors import Wanted, descriptors_raise, descriptors_share, why_too_few
from shardproxy.model import Address, Engine
from shardproxy.topology.refusal import explain

log = structlog.get_logger()


class StartError(Exception):
    """Why the proxy cannot start, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a started proxy listens."""

    endpoints: Mapping[str, tuple[BoundEndpoint, ...]]
    admin: Address


def workers_of(config: Config) -> int:
    return cpu_count() if config.workers == "auto" else config.workers


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
    available, wanted = descriptors_raise(), _wanted(config, workers)
    share = descriptors_share(available, wanted)
    dataplane.limit(clients=share.clients, dedicated=share.dedicated)
    too_few = why_too_few(available, wanted)
    if too_few and share.clients < wanted.clients:
        log.warning("limit of clients lowered", clients=share.clients, why=too_few)
    if too_few and share.dedicated < wanted.own:
        log.warning("limit of dedicated connections lowered", dedicated=share.dedicated, why=too_few)


def _wanted(config: Config, workers: int) -> Wanted:
    limits = [cluster.limits.clients for cluster in config.clusters.values()]
    topologies = config.topologies()
    redis = [topology for topology in topologies if topology.engine is Engine.REDIS]
    return Wanted(
        clients=sum(limits) if all(limits) else 0,
        dedicated=sum(len(t.nodes) * config.clusters[t.cluster].limits.dedicated for t in redis),
        nodes=sum(len(topology.nodes) for topology in topologies),
        shards=sum(len(topology.shards) for topology in redis),
        workers=workers,
    )


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
