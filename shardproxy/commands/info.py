"""INFO: the shards as one server, with what only the proxy knows, and a line per shard.

A shard that does not answer is missing from the sums, and named: in `# Proxy`, which is then there unasked,
and in its own line. An answer that nobody gave is an error, never an empty text.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from shardproxy.commands.call import Call, CommandError, Handler
from shardproxy.commands.counters import Counts
from shardproxy.commands.info_commands import calls_correct, times_correct
from shardproxy.commands.info_merge import Section, info_read, info_write, sections_merge
from shardproxy.commands.mixed import count_owned
from shardproxy.commands.shards import Answer, ask_all, ask_every
from shardproxy.commands.table import lower
from shardproxy.dataplane.statistics import ClusterCounts
from shardproxy.model import Address, Shard
from shardproxy.wire.reply import Reply, Verbatim

TIMEOUT = 2.0  # seconds for a shard; better a line that says it is silent than a client that waits
OURS = ("proxy", "shards")  # sections no engine has
WHOLE = ("default", "all", "everything")


async def info(call: Call) -> Reply:
    wanted = list(dict.fromkeys(lower(word) for word in call.args[1:]))
    is_whole = not wanted or any(word in WHOLE for word in wanted)
    answers = await ask_every(call, "INFO", *_asked(wanted), timeout=TIMEOUT)
    infos = {answer.shard.index: _read(answer) for answer in answers if answer.is_ok}
    for answer in answers:
        if answer.is_ok and answer.shard.is_mixed and "keyspace" in infos[answer.shard.index]:
            await _leave_out_strays(call, answer.shard, infos[answer.shard.index]["keyspace"])
    sections = sections_merge(list(infos.values()))
    if not is_whole:
        sections = {name: section for name, section in sections.items() if name in wanted}
    if not infos and (is_whole or "server" in wanted):  # clients look for the version
        sections = {"server": Section("Server", {"redis_version": call.table.version}), **sections}
    if not infos and not sections and not set(wanted) <= set(OURS):
        raise CommandError(answers[0].error)
    _as_proxy(call, sections)
    if is_whole or "proxy" in wanted or len(infos) < len(answers):
        sections["proxy"] = _proxy(call, answers)
    if is_whole or "shards" in wanted:
        sections["shards"] = Section("Shards", {f"shard{a.shard.number}": _shard(a, infos) for a in answers})
    return Verbatim(info_write(list(sections.values())))


async def _leave_out_strays(call: Call, shard: Shard, keyspace: Section) -> None:
    """Keys that are another shard's do not count, nor do they among those that expire."""
    for name, text in keyspace.fields.items():
        parts = dict(part.partition("=")[::2] for part in text.split(","))
        count = int(parts["keys"])
        with contextlib.suppress(CommandError):  # then it is as the node says
            found = await count_owned(call, shard, count)
            expires = round(int(parts["expires"]) * found / count) if count else 0
            parts |= {"keys": str(found), "expires": str(expires)}
        keyspace.fields[name] = ",".join(f"{part}={value}" for part, value in parts.items())


def _asked(wanted: list[str]) -> list[str]:
    """The sections to ask the nodes for: those wanted, and what a shard's line is made of."""
    asked = [word for word in wanted if word not in OURS]
    if "shards" in wanted and not any(word in WHOLE for word in wanted):
        asked += [word for word in ("memory", "keyspace") if word not in asked]
    if "proxy" in wanted and not asked:
        asked = ["server"]
    return asked


def _read(answer: Answer) -> dict[str, Section]:
    return info_read(cast("bytes", answer.reply).decode("utf-8", "surrogateescape"))


def _as_proxy(call: Call, sections: dict[str, Section]) -> None:
    """Put ourselves where the sections speak of the server one is connected to."""
    here = Address.parse(call.offload.local_address)
    is_cluster = call.plays_cluster and not call.is_relaxed
    identity = hashlib.sha1(f"{call.topology.cluster} {here}".encode(), usedforsecurity=False).hexdigest()
    statistics = call.count()
    counts = call.counters.counted(call.topology.cluster, statistics)
    if call.is_reader and "replication" in sections:
        sections["replication"] = Section(
            "Replication", {**_as_replica(call), **sections["replication"].fields}
        )
    replaced: dict[str, dict[str, str]] = {
        "server": {
            "redis_mode": "cluster" if is_cluster else "standalone",
            "process_id": str(os.getpid()),
            "run_id": identity,
            "tcp_port": str(here.port),
            "executable": "",
            "config_file": "",
        },
        "clients": _clients(call, statistics),
        "stats": _stats(call, counts, statistics),
        "replication": {"role": "slave" if call.is_reader else "master", "master_replid": identity},
        "cluster": {"cluster_enabled": str(int(is_cluster))},
    }
    for name, fields in replaced.items():
        if name in sections:
            present = sections[name].fields
            present.update({k: v for k, v in fields.items() if k in present or k == "redis_mode"})
    if "commandstats" in sections:
        calls_correct(call.table, counts, sections["commandstats"].fields)
    if "latencystats" in sections:
        times_correct(call.table, counts, sections["latencystats"].fields)
    if "replication" in sections:  # replicas are counted; whose they are is in the shards' lines
        fields = sections["replication"].fields
        for name in [name for name in fields if name.removeprefix("slave").isdigit()]:
            del fields[name]


def _clients(call: Call, statistics: ClusterCounts | None) -> dict[str, str]:
    """The proxy's own: a node's are the proxy's connections."""
    if statistics is None:
        return {}
    blocked = statistics.blocked + call.followers.count(call.topology.cluster)
    fields = {
        "connected_clients": statistics.clients,
        "blocked_clients": blocked,
        "tracking_clients": statistics.tracking,
        "cluster_connections": 0,
    }
    if call.settings.clients:
        fields["maxclients"] = call.settings.clients
    return {name: str(value) for name, value in fields.items()}


def _stats(call: Call, counts: Counts, statistics: ClusterCounts | None) -> dict[str, str]:
    """What the proxy's clients did, as the proxy counts it; and what they are subscribed to."""
    channels, patterns, shard_channels = call.dataplane.topic_counts(call.topology.cluster)
    fields = {
        "total_connections_received": counts.connections,
        "rejected_connections": counts.refused,
        "total_commands_processed": counts.all_calls,
        "total_net_input_bytes": counts.bytes_in,
        "total_net_output_bytes": counts.bytes_out,
        "pubsub_channels": channels,
        "pubsub_patterns": patterns,
        "pubsubshard_channels": shard_channels,
        "tracking_total_keys": statistics.tracked_keys if statistics else 0,
        "tracking_total_items": statistics.tracked_items if statistics else 0,
        "tracking_total_prefixes": statistics.tracked_prefixes if statistics else 0,
    }
    return {name: str(value) for name, value in fields.items()}


def _proxy(call: Call, answers: list[Answer]) -> Section:
    silent = [answer.shard.label for answer in answers if not answer.is_ok]
    return Section(
        "Proxy",
        {
            "proxy_name": "shardproxy",
            "proxy_cluster": call.topology.cluster,
            "proxy_endpoint": call.offload.endpoint,
            "proxy_epoch": str(call.topology.epoch),
            "proxy_shards": str(len(answers)),
            "proxy_shards_unreachable": str(len(silent)),
            "proxy_shards_unreachable_list": ",".join(silent),
        },
    )


def _shard(answer: Answer, infos: Mapping[int, Mapping[str, Section]]) -> str:
    """A shard in one line, in the manner of `slave0:`."""
    shard = answer.shard
    parts = {
        "slots": " ".join(map(str, shard.slots)),
        "primary": str(shard.primary or ""),
        "replicas": str(len(shard.replicas)),
        "state": "ok" if answer.is_ok else "unreachable",
    }
    if answer.is_ok:
        sections = infos[shard.index]
        keyspace = sections.get("keyspace", Section("")).fields.values()
        parts["keys"] = str(sum(int(db.split(",")[0].removeprefix("keys=")) for db in keyspace))
        parts["used_memory"] = sections.get("memory", Section("")).fields.get("used_memory", "")
    else:
        parts["why"] = answer.error.replace(",", ";")
    return ",".join(f"{name}={value}" for name, value in parts.items())


def _as_replica(call: Call) -> dict[str, str]:
    """What a replica tells of its primary, which is the endpoint that takes writes."""
    primary = _primary(call)
    return {
        "role": "slave",
        "master_host": primary.host,
        "master_port": str(primary.port),
        "master_link_status": "up",
        "master_last_io_seconds_ago": "0",
        "master_sync_in_progress": "0",
        "slave_read_only": "1",
    }


def _primary(call: Call) -> Address:
    """Where this client could write: as configured, or as it came here when that is no host."""
    here = Address.parse(call.offload.local_address)
    primary = call.settings.primary or here
    is_any = primary.host in ("0.0.0.0", "::")
    return replace(primary, host=here.host) if is_any and not here.is_unix else primary


def role(call: Call) -> Reply:
    """A primary without replicas: the offsets of many shards' replicas do not make one.

    The reader endpoint is a replica, so that clients which look for one send it no writes.
    """
    no_replicas: list[Reply] = []
    if call.is_reader:
        primary = _primary(call)
        return ["slave", primary.host, primary.port, "connected", 0]
    return ["master", 0, no_replicas]


async def lastsave(call: Call) -> Reply:
    """Since when everything is saved: the time of the shard that saved longest ago."""
    return min(cast("int", answer.reply) for answer in await ask_all(call, "LASTSAVE"))


HANDLERS: Mapping[str, Handler] = {"info": info, "lastsave": lastsave, "role": role}
