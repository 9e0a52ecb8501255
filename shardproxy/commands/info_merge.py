"""Many nodes' INFO made one: read, merge field by field, write. Pure.

How a field is merged follows from its name, else from its section:

    what is counted or measured: keys, bytes, events, CPU            summed
    what every shard has alike: scripts and functions                the largest: they count once
    how good something is, what runs now, how long something took    the worst of all shards
    limits                                                           summed; none when a shard has none
    what a server is, and how it is set                              the first shard's

What the proxy knows better, its clients and what these subscribe to, it writes over that (info.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Merge: TypeAlias = Callable[[Sequence[str]], str]


@dataclass(slots=True)
class Section:
    """A `# Name` and its fields; `lines` are those that are no fields."""

    name: str
    fields: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def info_read(text: str) -> dict[str, Section]:
    """The sections of an INFO reply, by lower-case name."""
    sections: dict[str, Section] = {}
    current = Section("")
    for line in text.splitlines():
        if line.startswith("#"):
            name = line.lstrip("# ")
            current = sections[name.lower()] = Section(name)
        elif ":" in line:
            name, _, value = line.partition(":")
            if name in REPEATED:
                current.lines.append(line)
            else:
                current.fields[name] = value
    return sections


def info_write(sections: Sequence[Section]) -> str:
    """INFO's text: sections with an empty line between them."""
    return "\r\n".join(
        f"# {s.name}\r\n"
        + "".join(f"{name}:{value}\r\n" for name, value in s.fields.items())
        + "".join(f"{line}\r\n" for line in s.lines)
        for s in sections
    )


def sections_merge(infos: Sequence[Mapping[str, Section]]) -> dict[str, Section]:
    """One set of sections from those of several nodes, in the order they first appear."""
    names: dict[str, None] = dict.fromkeys(name for info in infos for name in info)
    return {name: _section_merge([info[name] for info in infos if name in info]) for name in names}


def _section_merge(sections: Sequence[Section]) -> Section:
    name = sections[0].name
    fields: dict[str, str] = {}
    for field_name in dict.fromkeys(f for section in sections for f in section.fields):
        values = [section.fields[field_name] for section in sections if field_name in section.fields]
        fields[field_name] = rule_of(name.lower(), field_name)(values)
    merged = Section(
        name, fields, list(dict.fromkeys(line for section in sections for line in section.lines))
    )
    if name == "Memory":
        _memory_derive(fields)
    return merged


def first(values: Sequence[str]) -> str:
    return values[0]


def total(values: Sequence[str]) -> str:
    """The sum, with as many decimals as the values have; the first when one is no number."""
    try:
        decimals = max(len(value.partition(".")[2]) for value in values)
        return f"{sum(map(float, values)):.{decimals}f}" if decimals else str(sum(map(int, values)))
    except ValueError:
        return values[0]


def largest(values: Sequence[str]) -> str:
    return _extreme(values, largest=True)


def smallest(values: Sequence[str]) -> str:
    return _extreme(values, largest=False)


def _extreme(values: Sequence[str], *, largest: bool) -> str:
    try:
        return (max if largest else min)(values, key=float)
    except ValueError:
        return values[0]


def worst(values: Sequence[str]) -> str:
    """`ok` only when all are."""
    return next((value for value in values if value != "ok"), "ok")


def same_or_mixed(values: Sequence[str]) -> str:
    return values[0] if len(set(values)) == 1 else "mixed"


def limit(values: Sequence[str]) -> str:
    """The sum of limits; none (0) when one node has none."""
    return "0" if "0" in values else total(values)


def parts(rules: Mapping[str, Merge]) -> Merge:
    """Merge a value of `name=value,name=value` part by part."""

    def merge(values: Sequence[str]) -> str:
        split = [dict(part.partition("=")[::2] for part in value.split(",")) for value in values]
        merged = {
            name: rules.get(name, total)([one[name] for one in split if name in one]) for name in split[0]
        }
        if "usec_per_call" in merged:
            merged["usec_per_call"] = f"{int(merged['usec']) / max(1, int(merged['calls'])):.2f}"
        return ",".join(f"{name}={value}" for name, value in merged.items())

    return merge


REPEATED = ("module",)  # fields that may come more than once

SECTION_RULES: Mapping[str, Merge] = {
    "clients": total,
    "memory": total,
    "persistence": total,
    "stats": total,
    "replication": total,
    "cpu": total,
    "commandstats": parts({}),
    "errorstats": parts({}),
    "latencystats": parts(dict.fromkeys(("p50", "p99", "p99.9", "p100"), largest)),
    "keyspace": parts({"avg_ttl": largest}),
}

FIELD_RULES: Mapping[str, Merge] = {
    "uptime_in_seconds": smallest,
    "uptime_in_days": smallest,
    "client_recent_max_input_buffer": largest,
    "client_recent_max_output_buffer": largest,
    "maxmemory": limit,
    "maxmemory_policy": same_or_mixed,
    "active_defrag_running": largest,
    "number_of_cached_scripts": largest,
    "number_of_functions": largest,
    "number_of_libraries": largest,
    "loading": largest,
    "async_loading": largest,
    "current_cow_size_age": largest,
    "current_fork_perc": largest,
    "rdb_bgsave_in_progress": largest,
    "rdb_last_save_time": smallest,
    "rdb_last_bgsave_status": worst,
    "rdb_last_bgsave_time_sec": largest,
    "rdb_current_bgsave_time_sec": largest,
    "rdb_last_load_keys_expired": total,
    "rdb_saves": total,
    "aof_enabled": largest,
    "aof_rewrite_in_progress": largest,
    "aof_rewrite_scheduled": largest,
    "aof_pending_rewrite": largest,
    "aof_last_rewrite_time_sec": largest,
    "aof_current_rewrite_time_sec": largest,
    "aof_last_bgrewrite_status": worst,
    "aof_last_write_status": worst,
    "module_fork_in_progress": largest,
    "latest_fork_usec": largest,
    "expired_stale_perc": largest,
    "current_eviction_exceeded_time": largest,
    "current_active_defrag_time": largest,
    "min_slaves_good_slaves": smallest,
    "role": first,
    "master_replid": first,
    "master_replid2": first,
    "second_repl_offset": largest,
    "repl_backlog_active": largest,
    "repl_backlog_first_byte_offset": smallest,
}


def rule_of(section: str, name: str) -> Merge:
    """How values of a field become one."""
    if name in FIELD_RULES:
        return FIELD_RULES[name]
    if name.endswith(("_ratio", "_perc")):
        return largest
    return SECTION_RULES.get(section, first)


def human(count: int) -> str:
    """A number of bytes as INFO shows it to people."""
    if count < 1024:
        return f"{count}B"
    value, unit = count / 1024, "K"
    for larger in "MGTP":
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.2f}{unit}"


def _memory_derive(fields: dict[str, str]) -> None:
    """Work out anew what follows from other fields."""
    for name in [name for name in fields if name.endswith("_human")]:
        source = fields.get(name.removesuffix("_human"), "")
        if source.isdigit():
            fields[name] = human(int(source))
    _divide(fields, "used_memory_peak_perc", "used_memory", "used_memory_peak", percent=True)
    _divide(fields, "mem_fragmentation_ratio", "used_memory_rss", "used_memory")


def _divide(fields: dict[str, str], name: str, over: str, under: str, *, percent: bool = False) -> None:
    if name in fields and fields.get(over, "").isdigit() and int(fields.get(under, "0")):
        value = int(fields[over]) / int(fields[under])
        fields[name] = f"{value * 100:.2f}%" if percent else f"{value:.2f}"
