"""What is read of a node's own figures."""

from __future__ import annotations

from shardproxy.health.vitals import read_vitals
from shardproxy.model.vitals import Vitals

FIELDS = {
    "used_memory": "1048576",
    "maxmemory": "2097152",
    "used_memory_rss": "6787072",
    "connected_clients": "7",
    "used_cpu_user": "9.5",
    "used_cpu_sys": "2.5",
    "used_cpu_user_main_thread": "8.25",
    "used_cpu_sys_main_thread": "1.25",
    "evicted_keys": "3",
    "expired_keys": "4",
    "keyspace_hits": "50",
    "keyspace_misses": "6",
    "rejected_connections": "1",
    "sync_full": "2",
    "rdb_last_bgsave_status": "ok",
    "aof_last_bgrewrite_status": "ok",
    "aof_last_write_status": "ok",
    "db0": "keys=10,expires=2,avg_ttl=0",
    "db12": "keys=5,expires=0,avg_ttl=0,subexpiry=0",
    "dbsize_note": "keys=99,",
}


def test_info_is_read() -> None:
    assert read_vitals(FIELDS, 5.0) == Vitals(
        5.0, 1048576, 2097152, 6787072, 15, 7, 9.5, 3, 4, 50, 6, 1, 2, is_saving_well=True
    )


def test_an_old_engine_tells_of_all_threads() -> None:
    old = {name: value for name, value in FIELDS.items() if "main_thread" not in name}
    assert read_vitals(old, 0.0).cpu == 12.0


def test_a_save_that_failed_is_seen() -> None:
    for name in ("rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status"):
        assert not read_vitals({**FIELDS, name: "err"}, 0.0).is_saving_well


def test_what_is_lacking_is_nothing() -> None:
    assert read_vitals({"used_memory": "much"}, 1.0) == Vitals(1.0)
