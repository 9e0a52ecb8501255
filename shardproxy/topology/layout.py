"""What Auto Discovery tells of a memcached cluster: who is there, under a version that rises with changes.

Clients take a layout only if its version is above the one they know, also after a restart of the proxy, and
with another mode or another address to advertise. So the last one told is on record, for all proxies.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import trio

from shardproxy.config import MemcachedCluster, Mode
from shardproxy.dataplane.memcached import DiscoverySpec, Entry
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.model import Address, Topology
from shardproxy.nodes import resolve
from shardproxy.store.changing import note_change
from shardproxy.store.interface import Notebook
from shardproxy.store.notes import NoteKey, NoteKind

RESOLVE_TIMEOUT = 1.0  # seconds for all names; one that is not found in time is told as it is


@dataclass(frozen=True, slots=True)
class Layout:
    """What was told last: its version, and what tells it from another."""

    version: int
    digest: str


async def layout_tell(
    settings: ClusterSettings, topology: Topology, notebook: Notebook
) -> DiscoverySpec | None:
    """Work out what clients are told, and note it; None for a cluster without Auto Discovery.

    Raise StoreUnavailableError when what is new cannot be noted.
    """
    config = settings.config
    if not isinstance(config, MemcachedCluster):
        return None
    told = await entries(told_addresses(config, topology))
    own = [str(address) for address in config.endpoints.configuration.addresses]
    digest = layout_digest(told or own)

    def layout(last: Any) -> dict[str, Any]:
        before = Layout(int(last["version"]), str(last["digest"])) if last is not None else None
        return asdict(layout_number(before, digest, int(time.time())))

    noted = await note_change(notebook, NoteKey(topology.cluster, NoteKind.LAYOUT), layout)
    return DiscoverySpec(version=noted["version"], nodes=told)


def layout_number(last: Layout | None, digest: str, now: int) -> Layout:
    """Give a layout its version; `now`, in seconds, is above all that a lost record may have held."""
    if last is not None and last.digest == digest:
        return last
    return Layout(max(last.version + 1 if last else 0, now), digest)


def layout_digest(told: list[Entry] | list[str]) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:32]


def told_addresses(config: MemcachedCluster, topology: Topology) -> list[Address]:
    """Whom clients are told of; nobody: the address a client is connected to."""
    endpoint = config.endpoints.configuration
    if endpoint.mode is Mode.DIRECT:
        return [node.address for node in topology.nodes if not node.address.is_unix]
    return list(endpoint.advertise)


async def entries(addresses: Iterable[Address]) -> list[Entry]:
    """Host, IP address and port of each, sorted by host; a name that cannot be resolved stands for it."""
    found: dict[Address, str] = {address: address.host for address in addresses}

    async def resolve(address: Address) -> None:
        if (ip := await _ip_of(address)) is not None:
            found[address] = ip

    with trio.move_on_after(RESOLVE_TIMEOUT):
        async with trio.open_nursery() as nursery:
            for address in found:
                nursery.start_soon(resolve, address)
    return sorted((address.host, ip, address.port) for address, ip in found.items())


async def _ip_of(address: Address) -> str | None:
    try:
        answers = await resolve(address.host)
    except OSError:
        return None
    # the same one whatever order several come in: else each reload would look like a change
    return min(answers, key=lambda ip: (":" in ip, ip), default=None)
