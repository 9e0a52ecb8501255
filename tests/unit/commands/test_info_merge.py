"""INFO of several nodes merged field by field."""

from __future__ import annotations

import pytest

from shardproxy.commands.counters import Counts
from shardproxy.commands.info_commands import calls_correct, times_correct
from shardproxy.commands.info_merge import human, info_read, info_write, rule_of, sections_merge
from shardproxy.commands.table import Table
from shardproxy.dataplane.statistics import CommandStatistics

TABLE = Table.load()


@pytest.mark.parametrize(
    ("section", "field", "values", "merged"),
    [
        ("server", "redis_version", ["7.0.15", "7.2.0"], "7.0.15"),
        ("server", "uptime_in_seconds", ["10", "9"], "9"),
        ("stats", "total_commands_processed", ["10", "5"], "15"),
        ("stats", "instantaneous_input_kbps", ["0.05", "1.1"], "1.15"),
        ("stats", "expired_stale_perc", ["0.50", "0.10"], "0.50"),
        ("memory", "maxmemory", ["100", "100"], "200"),
        ("memory", "maxmemory", ["100", "0"], "0"),
        ("memory", "maxmemory_policy", ["noeviction", "noeviction"], "noeviction"),
        ("memory", "maxmemory_policy", ["noeviction", "allkeys-lru"], "mixed"),
        ("memory", "mem_allocator", ["jemalloc-5.3.0", "libc"], "jemalloc-5.3.0"),
        ("memory", "number_of_cached_scripts", ["3", "2"], "3"),
        ("memory", "number_of_libraries", ["1", "1"], "1"),
        ("replication", "min_slaves_good_slaves", ["2", "1"], "1"),
        ("persistence", "rdb_last_bgsave_status", ["ok", "err"], "err"),
        ("persistence", "loading", ["0", "1"], "1"),
        ("persistence", "rdb_last_save_time", ["20", "10"], "10"),
        ("persistence", "rdb_last_bgsave_time_sec", ["-1", "3"], "3"),
        ("cpu", "used_cpu_sys", ["0.100000", "0.250000"], "0.350000"),
        ("replication", "connected_slaves", ["1", "2"], "3"),
        ("replication", "role", ["master", "master"], "master"),
        (
            "keyspace",
            "db0",
            ["keys=3,expires=1,avg_ttl=50", "keys=4,expires=0,avg_ttl=0"],
            "keys=7,expires=1,avg_ttl=50",
        ),
        (
            "commandstats",
            "cmdstat_get",
            [
                "calls=3,usec=30,usec_per_call=10.00,rejected_calls=1,failed_calls=0",
                "calls=1,usec=20,usec_per_call=20.00,rejected_calls=0,failed_calls=2",
            ],
            "calls=4,usec=50,usec_per_call=12.50,rejected_calls=1,failed_calls=2",
        ),
        ("errorstats", "errorstat_ERR", ["count=2", "count=3"], "count=5"),
        (
            "latencystats",
            "latency_percentiles_usec_get",
            ["p50=1.003,p99=9.1", "p50=2.007,p99=3.0"],
            "p50=2.007,p99=9.1",
        ),
        ("unheard", "of", ["1", "2"], "1"),
    ],
)
def test_field_is_merged_by_its_rule(section: str, field: str, values: list[str], merged: str) -> None:
    assert rule_of(section, field)(values) == merged


def test_sections_are_merged_and_written_as_an_engine_writes_them() -> None:
    memory = "# Memory\r\nused_memory:{}\r\nused_memory_human:{}\r\n\r\n"
    one = info_read(memory.format(2048, "2.00K") + "# Keyspace\r\n\r\n# Cluster\r\na:0\r\n")
    two = info_read(memory.format(1024, "1.00K") + "# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n")
    assert info_write(list(sections_merge([one, two]).values())) == (
        "# Memory\r\nused_memory:3072\r\nused_memory_human:3.00K\r\n\r\n"
        "# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n\r\n"
        "# Cluster\r\na:0\r\n"
    )


def test_modules_are_listed_once() -> None:
    info = info_read("# Modules\r\nmodule:name=a,ver=1\r\nmodule:name=b,ver=1\r\n")
    assert info_write(list(sections_merge([info, info]).values())) == (
        "# Modules\r\nmodule:name=a,ver=1\r\nmodule:name=b,ver=1\r\n"
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.00K"),
        (1040440, "1016.05K"),
        (12288000, "11.72M"),
        (25276502016, "23.54G"),
    ],
)
def test_human_is_as_redis_writes_it(count: int, text: str) -> None:
    assert human(count) == text


def test_commands_are_those_of_applications() -> None:
    counts = Counts(
        commands={
            "info": CommandStatistics(3, 1),
            "ping": CommandStatistics(2, 0),
            "role": CommandStatistics(0, 0),
            "get": CommandStatistics(5, 0),
        }
    )
    calls = {
        "cmdstat_get": "calls=7,usec=14,usec_per_call=2.00,rejected_calls=0,failed_calls=0",
        "cmdstat_info": "calls=900,usec=9000,usec_per_call=10.00,rejected_calls=0,failed_calls=0",
        "cmdstat_role": "calls=900,usec=900,usec_per_call=1.00,rejected_calls=0,failed_calls=0",
        "cmdstat_client|setname": "calls=9,usec=9,usec_per_call=1.00,rejected_calls=0,failed_calls=0",
        "cmdstat_keys": "calls=3,usec=3,usec_per_call=1.00,rejected_calls=0,failed_calls=0",
        "cmdstat_some.module": "calls=1,usec=1,usec_per_call=1.00,rejected_calls=0,failed_calls=0",
    }
    calls_correct(TABLE, counts, calls)
    assert calls == {
        "cmdstat_get": "calls=7,usec=14,usec_per_call=2.00,rejected_calls=0,failed_calls=0",
        "cmdstat_keys": "calls=3,usec=3,usec_per_call=1.00,rejected_calls=0,failed_calls=0",
        "cmdstat_some.module": "calls=1,usec=1,usec_per_call=1.00,rejected_calls=0,failed_calls=0",
        "cmdstat_info": "calls=4,usec=40,usec_per_call=10.00,rejected_calls=0,failed_calls=1",
        "cmdstat_ping": "calls=2,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=0",
    }
    times = {f"latency_percentiles_usec_{name}": "p50=1.0" for name in ("get", "info", "role")}
    times_correct(TABLE, counts, times)
    assert list(times) == ["latency_percentiles_usec_get", "latency_percentiles_usec_info"]


def test_counters_begin_anew() -> None:
    then = Counts(3, 1, 100, 200, {"get": CommandStatistics(5, 1), "set": CommandStatistics(1, 0)})
    now = Counts(5, 1, 150, 280, {"get": CommandStatistics(7, 2), "set": CommandStatistics(1, 0)})
    since = now.since(then)
    assert (since.connections, since.refused, since.bytes_in, since.bytes_out) == (2, 0, 50, 80)
    assert (since.calls("get"), since.calls("set"), since.calls("nope"), since.all_calls) == (3, 0, 0, 3)
