"""Reads a node's own figures from its INFO. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from shardproxy.model.vitals import Vitals

# the main thread runs the commands; engines before 6.2 tell of all threads together
CPU = (("used_cpu_user_main_thread", "used_cpu_sys_main_thread"), ("used_cpu_user", "used_cpu_sys"))
KEYS = re.compile(r"keys=(\d+),")
SAVES = ("rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status")


def read_vitals(fields: Mapping[str, str], at: float) -> Vitals:
    """INFO of all its default sections; what it lacks, or what is no number, is 0."""

    def number(name: str) -> int:
        text = fields.get(name, "")
        return int(text) if text.isdigit() else 0

    counted = (KEYS.match(value) for name, value in fields.items() if _is_database(name))
    return Vitals(
        at,
        memory_used=number("used_memory"),
        memory_max=number("maxmemory"),
        memory_resident=number("used_memory_rss"),
        keys=sum(int(found[1]) for found in counted if found),
        clients=number("connected_clients"),
        cpu=_cpu(fields),
        evicted=number("evicted_keys"),
        expired=number("expired_keys"),
        hits=number("keyspace_hits"),
        misses=number("keyspace_misses"),
        rejected=number("rejected_connections"),
        full_syncs=number("sync_full"),
        is_saving_well=all(fields.get(name, "ok") == "ok" for name in SAVES),
    )


def _is_database(name: str) -> bool:
    return name.startswith("db") and name[2:].isdigit()


def _cpu(fields: Mapping[str, str]) -> float:
    names = next((names for names in CPU if names[0] in fields), CPU[-1])
    try:
        return sum(float(fields[name]) for name in names)
    except (KeyError, ValueError):
        return 0.0
