"""Pools become clusters; what has no counterpart becomes a note."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shardproxy.config.access import DEFAULT_USER
from shardproxy.config.checks import is_own
from shardproxy.config.durations import format_duration
from shardproxy.config.errors import ConfigError, Problem
from shardproxy.config.hashing import KeyHash
from shardproxy.config.loading import parse_config
from shardproxy.config.nutcracker.pools import Pool, Server, read_pools
from shardproxy.config.nutcracker.write import write
from shardproxy.config.slots import format_slots, weighted_slots
from shardproxy.config.timeouts import ClusterTimeouts

Plain = dict[str, object]


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is not as it was."""

    cluster: str
    text: str


@dataclass(frozen=True, slots=True)
class Imported:
    """A config of ours, and what became of the rest."""

    text: str  # YAML; the notes stand in it as comments
    notes: tuple[Note, ...]
    problems: tuple[Problem, ...]  # in `text`: values twemproxy takes and we do not


def import_nutcracker(text: str, source: str = "nutcracker.yml") -> Imported:
    """Turn the text of a twemproxy config into one of ours; raise ConfigError when it is none."""
    clusters: dict[str, tuple[Pool, Plain]] = {}
    notes: list[Note] = []
    for pool in read_pools(text, source):
        name = _cluster_name(pool.name, clusters)
        clusters[name] = (pool, _redis(pool, name) if pool.redis else _memcached(pool))
        notes += [Note(name, note) for note in _notes(pool, name)]
    by_cluster = {name: [note.text for note in notes if note.cluster == name] for name in clusters}
    written = write(source, {name: plain for name, (_, plain) in clusters.items()}, by_cluster)
    return Imported(written, tuple(notes), _problems(written))


def _problems(written: str) -> tuple[Problem, ...]:
    try:
        parse_config(written)
    except ConfigError as e:
        return e.problems
    return ()


def _memcached(pool: Pool) -> Plain:
    return {
        "engine": "memcached",
        "endpoints": {"configuration": str(pool.listen)},
        **_open(pool),
        **_hashing(pool),
        **_limits(pool),
        **_timeouts(pool),
        **_on_failure(pool),
        "nodes": [_node(pool, server) for server in _in_order(pool)],
    }


def _on_failure(pool: Pool) -> Plain:
    """Eject as twemproxy does: the other nodes take the keys of one that fails."""
    if not pool.auto_eject_hosts:
        return {}
    retry = format_duration(max(pool.server_retry_timeout, 1) / 1000)
    failures = min(max(pool.server_failure_limit, 1), 1000)
    return {"on_failure": {"action": "rehash", "failures": failures, "retry": retry}}


def _in_order(pool: Pool) -> list[Server]:
    """Put servers in the order modula counts them: twemproxy sorts them, short names first."""
    if pool.distribution != "modula":
        return list(pool.servers)
    return sorted(pool.servers, key=lambda server: (len(server.name), server.name))


def _hashing(pool: Pool) -> Plain:
    """Leave out what is a default here too."""
    if pool.distribution == "random":
        return {}
    written: Plain = {"method": pool.distribution, "hash": pool.hash.value}
    if pool.hash_tag is not None:
        written["tag"] = pool.hash_tag
    is_plain = pool.distribution == "ketama" and pool.hash is KeyHash.FNV1A_64 and pool.hash_tag is None
    return {"hashing": "ketama" if is_plain else written}


def _node(pool: Pool, server: Server) -> object:
    address = str(server.address)
    written: Plain = {"address": address}
    if pool.distribution == "ketama" and server.name != address:
        written["name"] = server.name
    if server.weight != 1:
        written["weight"] = server.weight
    return written if len(written) > 1 else address


def _redis(pool: Pool, name: str) -> Plain:
    return {
        "engine": "redis",
        "endpoints": {"configuration": str(pool.listen)},
        **_auth(pool, name),
        **_limits(pool),
        **_timeouts(pool),
        "shards": [
            {**({"slots": slots} if slots else {}), "nodes": [str(server.address)]}
            for server, slots in zip(pool.servers, _weighted_slots(pool), strict=True)
        ],
    }


def _auth(pool: Pool, name: str) -> Plain:
    """One password to nodes and from clients; without one whoever reached the pool was let in."""
    if pool.redis_auth:
        password = {"env": _variable(name)}
        return {
            "access": {"users": [{"name": DEFAULT_USER, "passwords": [password]}]},
            "node_auth": {"password": password},
        }
    return _open(pool)


def _open(pool: Pool) -> Plain:
    return {} if is_own(pool.listen) else {"access": "open"}


def _weighted_slots(pool: Pool) -> list[str | None]:
    """Share the slots by weight, unless all weigh the same and the default does it."""
    weights = [server.weight for server in pool.servers]
    if len(set(weights)) == 1:
        return [None] * len(weights)
    return [format_slots(slots) for slots in weighted_slots(weights)]


def _limits(pool: Pool) -> Plain:
    return {"limits": {"clients": pool.client_connections}} if pool.client_connections else {}


def _timeouts(pool: Pool) -> Plain:
    if not pool.timeout:
        return {}
    written = format_duration(pool.timeout / 1000)
    return {"timeouts": {"connect": written, "reply": written}}


def _notes(pool: Pool, name: str) -> Iterator[str]:
    """Say what is not as it was."""
    if name != pool.name:
        yield f"the pool was called {pool.name!r}"
    if not pool.redis_auth and not is_own(pool.listen):
        yield f"listen {pool.listen}: other machines need no login, as before; name users under access:"
    yield from _redis_notes(pool, name) if pool.redis else _memcached_notes(pool)
    if not pool.timeout:
        reply = format_duration(ClusterTimeouts().reply)
        yield f"no timeout: twemproxy waits for ever, here a node has {reply} to answer (timeouts.reply)"
    if pool.permissions:
        yield f"listen: the socket had permissions {pool.permissions}; here the umask of the process decides"
    if pool.preconnect:
        yield "preconnect: connections to nodes are opened when first needed"
    if pool.server_connections > 1:
        yield f"server_connections {pool.server_connections}: each worker shares one connection to a node"
    if pool.backlog is not None:
        yield f"backlog {pool.backlog}: it cannot be chosen"
    if pool.reuse_port:
        yield "reuse_port: an address has one process; use workers instead of several processes"
    if pool.auto_eject_hosts and pool.redis:
        after, pause = pool.server_failure_limit, format_duration(pool.server_retry_timeout / 1000)
        yield (
            f"auto_eject_hosts (after {after} failures, for {pause}): a failing shard is not ejected, "
            "its keys stay with it"
        )


def _memcached_notes(pool: Pool) -> Iterator[str]:
    if pool.hash is KeyHash.HSIEH and pool.distribution != "random":
        yield "hash hsieh: its licence keeps it out; choose another hash and start with an empty cache"
    if pool.distribution == "random":
        yield "distribution random: keys have a node each, by slots"
    if pool.distribution == "modula" and _in_order(pool) != list(pool.servers):
        yield "distribution modula: the nodes stand in the order twemproxy counts them; keep it"


def _redis_notes(pool: Pool, name: str) -> Iterator[str]:
    if len(pool.servers) > 1:
        yield (
            f"distribution {pool.distribution}, hash {pool.hash.value}: keys go by slots (crc16) here, "
            "so most belong to another shard; start with empty shards, or copy the keys through the proxy"
        )
        if len({server.weight for server in pool.servers}) > 1:
            yield "servers: weights became shares of the slots"
        if pool.hash_tag not in (None, "{}"):
            yield f"hash_tag {pool.hash_tag!r}: only what stands between {{ and }} is hashed here"
        elif pool.hash_tag is None:
            yield "no hash_tag: of keys with {...} only what stands between { and } is hashed here"
    if pool.redis_auth:
        yield (
            f"redis_auth: put it into the environment variable {_variable(name)}; "
            "clients are asked for it, and the nodes are logged in to with it, as by twemproxy"
        )
    if pool.redis_db:
        yield (
            f"redis_db {pool.redis_db}: clients are in database 0 unless they SELECT another, "
            "which takes a single shard"
        )


def _cluster_name(pool: str, taken: dict[str, tuple[Pool, Plain]]) -> str:
    """Make a name for a cluster out of any text."""
    base = re.sub(r"[^A-Za-z0-9_-]+", "-", pool).strip("-_")[:45] or "pool"
    names = (base if i == 1 else f"{base}-{i}" for i in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def _variable(cluster: str) -> str:
    return f"REDIS_PASSWORD_{re.sub('[^A-Za-z0-9]', '_', cluster).upper()}"
