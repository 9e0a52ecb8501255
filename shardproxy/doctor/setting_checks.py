"""What is thought of a node's settings. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shardproxy.config.caching import WriteMode
from shardproxy.config.replication import Replication
from shardproxy.config.sizes import format_size
from shardproxy.doctor.finding import Finding, bad, ok, warn
from shardproxy.doctor.node import NodeFacts, number
from shardproxy.doctor.terms import Terms

KEEPALIVE = 300  # seconds, as engines have it
REPLICA_BUFFER = 256 << 20  # bytes, as engines have it
BACKLOG_SECONDS = 60.0  # of writes that a replica may miss without getting all data again
LEAST_BACKLOG = 1 << 20
SPARE = 64  # connections to a node beside the proxies': operators, Prometheus, replicas


def setting_findings(facts: NodeFacts, about: str, terms: Terms) -> Iterator[Finding]:
    """Look at all settings of a node that told them."""
    yield from _memory(facts, about, terms)
    yield from _persistence(facts, about, terms)
    yield from _min_replicas(facts, about, terms)
    yield from _connections(facts, about, terms)
    yield from _replication(facts, about, terms)


def _memory(facts: NodeFacts, about: str, terms: Terms) -> Iterator[Finding]:
    most, policy = number(facts.settings, "maxmemory"), facts.settings.get("maxmemory-policy", "noeviction")
    if not most:
        yield warn(
            about,
            "maxmemory",
            "no limit",
            "the kernel ends it when the machine is full, and how full a shard is cannot be told",
            f"{facts.cli} CONFIG SET maxmemory {_half_of(facts)}",
        )
    else:
        yield ok(about, "maxmemory", f"{format_size(most)}, {policy}")
    rules = terms.cluster.caching.rules if terms.cluster.caching is not None else ()
    behind = any(rule.write is not None and rule.write.mode is WriteMode.BEHIND for rule in rules)
    if behind and policy.startswith("allkeys-"):
        yield bad(
            about,
            "maxmemory-policy",
            policy,
            "notes of writes that their database does not have yet may be evicted",
            f"{facts.cli} CONFIG SET maxmemory-policy {policy.replace('allkeys-', 'volatile-')}",
        )


def _persistence(facts: NodeFacts, about: str, terms: Terms) -> Iterator[Finding]:
    aof, save = facts.settings.get("appendonly", "no"), facts.settings.get("save", "")
    shown = f"appendonly {aof}, save {save!r}" if save else f"appendonly {aof}, no save"
    wanted = terms.cluster.persistence.settings if terms.cluster.persistence is not None else {}
    for name, value in wanted.items():
        if facts.settings.get(name) == value:
            continue
        yield warn(
            about,
            "persistence",
            f"{name} is {facts.settings.get(name, '')!r}, the config promises {value!r}",
            "the proxy sets it within 10 s of running; until then less is on disk than promised",
            f"{facts.cli} CONFIG SET {name} '{value}'",
        )
        return
    is_managed = terms.cluster.replication is Replication.MANAGED
    if aof == "no" and not save and not wanted and not is_managed and terms.replicas:
        yield warn(
            about,
            "persistence",
            shown,
            "an engine that restarts comes back empty",
            f"{facts.cli} CONFIG SET appendonly yes  # or replication: managed in the config",
        )
        return
    yield ok(about, "persistence", shown)


def _min_replicas(facts: NodeFacts, about: str, terms: Terms) -> Iterator[Finding]:
    there = number(facts.settings, "min-replicas-to-write")
    wanted = terms.cluster.writes.min_replicas
    if there > terms.replicas:
        yield bad(
            about,
            "min-replicas",
            f"min-replicas-to-write {there}, and its shard has {terms.replicas} replicas",
            "as a primary it takes no writes",
            f"{facts.cli} CONFIG SET min-replicas-to-write {wanted or 0}",
        )
    elif wanted is not None and there != wanted:
        yield warn(
            about,
            "min-replicas",
            f"min-replicas-to-write {there}, the config says {wanted}",
            "the proxy sets it when it promotes; until then a primary alone takes writes that may be lost",
            f"{facts.cli} CONFIG SET min-replicas-to-write {wanted}",
        )


def _connections(facts: NodeFacts, about: str, terms: Terms) -> Iterator[Finding]:
    if (seconds := number(facts.settings, "timeout")) != 0:
        yield warn(
            about,
            "timeout",
            f"closes connections that are idle for {seconds} s",
            "those that the proxy shares are closed under it, and opened again with the next request",
            f"{facts.cli} CONFIG SET timeout 0",
        )
    keepalive = number(facts.settings, "tcp-keepalive", KEEPALIVE)
    if keepalive == 0:
        yield warn(
            about,
            "tcp-keepalive",
            "off",
            "connections of a proxy that vanished stay until maxclients is reached",
            f"{facts.cli} CONFIG SET tcp-keepalive {KEEPALIVE}",
        )
    most = number(facts.settings, "maxclients", 10_000)
    needed = terms.connections + SPARE
    if most < needed:
        yield warn(
            about,
            "maxclients",
            f"{most}, one proxy may open {terms.connections}",
            "clients that block or watch are refused when all are taken",
            f"{facts.cli} CONFIG SET maxclients {needed}  # for each proxy; or lower limits.dedicated",
        )


def _replication(facts: NodeFacts, about: str, terms: Terms) -> Iterator[Finding]:
    if not terms.replicas:
        return
    limits = _buffers(facts.settings.get("client-output-buffer-limit", ""))
    if (hard := limits.get("replica", 0)) and hard < REPLICA_BUFFER:
        yield warn(
            about,
            "replica buffer",
            f"client-output-buffer-limit replica {format_size(hard)}",
            "a replica that falls behind by more is cut off, and gets all data again, again and again",
            f"{facts.cli} CONFIG SET client-output-buffer-limit"
            f" 'replica {REPLICA_BUFFER} {REPLICA_BUFFER // 4} 60'",
        )
    if "repl-backlog-size" in facts.settings:
        yield _backlog(facts, about)


def _backlog(facts: NodeFacts, about: str) -> Finding:
    size = number(facts.settings, "repl-backlog-size")
    written, up = number(facts.info, "master_repl_offset"), number(facts.info, "uptime_in_seconds", 1)
    rate = written / max(1, up)  # bytes a second
    least = max(LEAST_BACKLOG, int(rate * BACKLOG_SECONDS))
    shown = f"repl-backlog-size {format_size(size)}, {format_size(int(rate))} written a second"
    if size >= least:
        return ok(about, "backlog", shown)
    return warn(
        about,
        "backlog",
        shown,
        f"a replica that is away for {size / max(rate, 1.0):.0f} s gets all data again; slots that move, too",
        f"{facts.cli} CONFIG SET repl-backlog-size {least}",
    )


def alike_findings(all_facts: Sequence[NodeFacts], name: str) -> Iterator[Finding]:
    """Settings that nodes of a cluster should have alike, as any of them may become a primary."""
    for setting in ("maxmemory", "maxmemory-policy"):
        values = {facts.settings[setting] for facts in all_facts if setting in facts.settings}
        if len(values) < 2:
            continue
        nodes = {value: next(f for f in all_facts if f.settings.get(setting) == value) for value in values}
        shown = ", ".join(f"{value} at {node.address}" for value, node in sorted(nodes.items()))
        largest = max(values, key=lambda value: int(value) if value.isdigit() else 0)
        other = next(f for f in all_facts if f.settings.get(setting, largest) != largest)
        yield warn(
            name,
            "alike",
            f"{setting} differs: {shown}",
            "after a failover a shard holds less, or evicts otherwise, than before",
            f"{other.cli} CONFIG SET {setting} {largest}",
        )


def _half_of(facts: NodeFacts) -> str:
    memory = number(facts.info, "total_system_memory")
    return str(memory // 2) if memory else "BYTES"


def _buffers(text: str) -> dict[str, int]:
    """`normal 0 0 0 replica 268435456 67108864 60 pubsub ...`: the hard limits by class."""
    words = text.split()
    found = {words[at]: words[at + 1] for at in range(0, len(words) - 3, 4)}
    return {name: int(hard) for name, hard in found.items() if hard.isdigit()}
