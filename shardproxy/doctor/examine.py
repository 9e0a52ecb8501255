"""Everything that is looked at for one config."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from shardproxy.commands.table import Table
from shardproxy.config import Config, MemcachedCluster, RedisCluster
from shardproxy.config.checks import is_own
from shardproxy.dataplane.cpus import workers_of
from shardproxy.dataplane.descriptors import SHARED_LINKS, wanted_by
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.doctor.files import certificate_findings, state_finding
from shardproxy.doctor.finding import Finding, bad, ok
from shardproxy.doctor.machine import machine_read
from shardproxy.doctor.machine_checks import Load, machine_findings
from shardproxy.doctor.node import NodeFacts, node_asked
from shardproxy.doctor.node_checks import node_findings
from shardproxy.doctor.rights import rights_needed
from shardproxy.doctor.setting_checks import alike_findings
from shardproxy.doctor.sockets import listening_findings
from shardproxy.doctor.store import store_finding
from shardproxy.doctor.terms import Terms
from shardproxy.model import Address, Node
from shardproxy.nodes import MEMCACHED, LinkTimeouts, NodeError, NodeFailure, NodeLink
from shardproxy.store.opening import store_path
from shardproxy.topology.logins import credentials_of, tls_of
from shardproxy.topology.settings import SettingsError, settings_read

TIMEOUTS = LinkTimeouts(connect=2.0, reply=5.0)
AT_ONCE = 64  # nodes asked side by side

T = TypeVar("T")


def machine_examined(config: Config | None) -> list[Finding]:
    """Look at the machine, for a config or for any."""
    return list(machine_findings(machine_read(), load_of(config) if config is not None else None))


def load_of(config: Config) -> Load:
    """What a config asks of the machine."""
    workers = workers_of(config)
    nodes = {str(node.address): node.address for one in config.topologies() for node in one.nodes}
    return Load(
        workers=workers,
        wanted=wanted_by(config, workers),
        buffers=config.limits.buffers,
        near=sum(
            near.memory for one in config.clusters.values() if (near := getattr(one, "near_cache", None))
        ),
        engines=tuple(name for name, address in nodes.items() if is_own(address)),
    )


async def config_examined(config: Config, path: Path, *, is_served: bool) -> list[Finding]:
    """Look at files, addresses, the store and every node that a config names.

    `is_served`: a proxy runs that listens where the config says.
    """
    findings = [*listening_findings(_listeners(config), is_served=is_served)]
    if (state := store_path(config, path)) is not None:
        findings.append(state_finding(state))
    if (store := await store_finding(config)) is not None:
        findings.append(store)
    try:
        settings = settings_read(config, Table.load().version)
    except SettingsError as error:
        return findings + [_unreadable(reason) for reason in error.reasons]
    for name, of in settings.items():
        findings += certificate_findings(name, of.certificates, time.time())
    return findings + await _nodes_examined(config, settings)


def _unreadable(reason: str) -> Finding:
    return bad(
        "config", "secrets", reason, "the proxy does not start", "shardproxy config show FILE  # has paths"
    )


def _listeners(config: Config) -> Iterator[tuple[str, Address]]:
    yield "admin", config.admin
    for name, cluster in config.clusters.items():
        for kind, endpoint, _ in cluster.listened:
            for address in endpoint.addresses:
                if address.port or address.is_unix:
                    yield f"{name} {kind.value}", address


async def _nodes_examined(config: Config, settings: dict[str, ClusterSettings]) -> list[Finding]:
    workers, found = workers_of(config), []
    for name, cluster in config.clusters.items():
        of = settings[name]
        link = partial(
            NodeLink,
            credentials=partial(credentials_of, of),
            tls=partial(tls_of, of),
            timeouts=TIMEOUTS,
        )
        if isinstance(cluster, MemcachedCluster):
            nodes = cluster.topology(name).nodes
            asked = [partial(_memcached_examined, link(one.address, speech=MEMCACHED), name) for one in nodes]
            found += [finding for findings in await _side_by_side(asked) for finding in findings]
        else:
            found += await _cluster_examined(name, cluster, link, workers, has_store=config.store is not None)
    return found


async def _cluster_examined(
    name: str, cluster: RedisCluster, link: Callable[[Address], NodeLink], workers: int, *, has_store: bool
) -> list[Finding]:
    needs = tuple(rights_needed(cluster, has_store=has_store))
    requests = tuple(dict.fromkeys(request for need in needs for request in need.requests))
    replicas: dict[Node, int] = {
        node: len(shard.nodes) - 1 for shard in cluster.topology(name).shards for node in shard.nodes
    }

    async def ask(node: Node) -> NodeFacts:
        async with link(node.address) as opened:
            return await node_asked(opened, requests)

    all_facts = await _side_by_side([partial(ask, node) for node in replicas])
    connections = workers * (SHARED_LINKS + 1 + cluster.limits.dedicated)
    found = [
        finding
        for facts, count in zip(all_facts, replicas.values(), strict=True)
        for finding in node_findings(facts, Terms(name, cluster, needs, connections, count))
    ]
    return found + list(alike_findings(all_facts, name))


async def _memcached_examined(link: NodeLink, name: str) -> list[Finding]:
    about = f"{name} {link.address}"
    mend = f"printf 'version\\r\\n' | nc -w 2 {link.address.host} {link.address.port}"
    why = "its keys miss, and writes of them fail"
    try:
        async with link:
            reply = await link.request("version")
    except NodeFailure as failure:
        return [bad(about, "reachable", failure.why, why, mend)]
    except NodeError as error:
        return [bad(about, "login", error.failure.text, why, "# node_auth: in the config; memcached -Y FILE")]
    words = reply if isinstance(reply, list) else []
    version = b" ".join(word for word in words[1:] if isinstance(word, bytes)).decode(errors="replace")
    return [ok(about, "version", f"memcached {version}")]


async def _side_by_side(asked: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """What each answers, in their order."""
    found: dict[int, T] = {}
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def ask(number: int, one: Callable[[], Awaitable[T]]) -> None:
        async with limiter:
            found[number] = await one()

    async with trio.open_nursery() as nursery:
        for number, one in enumerate(asked):
            nursery.start_soon(ask, number, one)
    return [found[number] for number in range(len(asked))]
