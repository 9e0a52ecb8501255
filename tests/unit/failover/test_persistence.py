"""What is done next so that nodes keep on disk what they should."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.failover.persistence import Disk, Keep, Set, alarm_text, next_step, why_not_kept
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.store.record import ShardRecord, ShardState
from tests.unit.failover.make import KEY, A, B, C, record
from tests.unit.failover.make import setup as make_setup

WANTED = (("appendfsync", "everysec"), ("appendonly", "yes"))
OFF, ON = {"appendfsync": "everysec", "appendonly": "no"}, dict(WANTED)
SETUP: ShardSetup = replace(make_setup(A, B, C), persistence=WANTED)
RECORD: ShardRecord = replace(record(A), nodes=(A, B, C), joined=(A, B, C), run_id="ra")


def disk(node: Address, settings: dict[str, str] = ON, **info: str) -> Disk:
    return Disk({A: "ra", B: "rb", C: "rc"}[node], settings, info)


def step(
    disks: dict[Address, Disk],
    was_set: frozenset[tuple[Address, str]] = frozenset(),
    refused: tuple[Set | Keep, ...] = (),
    setup: ShardSetup = SETUP,
    now: ShardRecord = RECORD,
) -> Set | Keep | None:
    return next_step(setup, now, disks, was_set, refused)


ALL_ON = {node: disk(node) for node in (A, B, C)}
ALL_OFF = {node: disk(node, OFF) for node in (A, B, C)}


def test_replicas_are_set_first_and_one_at_a_time() -> None:
    assert step(ALL_OFF) == Set(B, "rb", (("appendonly", "yes"),))
    rewriting = {**ALL_OFF, B: disk(B, aof_rewrite_in_progress="1")}
    assert step(rewriting) is None
    assert step({**ALL_OFF, B: disk(B, aof_rewrite_scheduled="1")}) is None
    assert step({**ALL_OFF, B: disk(B)}) == Set(C, "rc", (("appendonly", "yes"),))
    assert step({**ALL_ON, A: disk(A, OFF)}) == Set(A, "ra", (("appendonly", "yes"),))
    assert step(ALL_ON) is None


def test_what_drifts_is_set_again() -> None:
    drifted = disk(C, {"appendfsync": "no", "appendonly": "yes"})
    assert step({**ALL_ON, C: drifted}) == Set(C, "rc", (("appendfsync", "everysec"),))


def test_a_replica_s_file_says_so_once_its_log_is_whole() -> None:
    was_set = frozenset({(B, "rb"), (A, "ra")})
    assert step({**ALL_ON, B: disk(B, aof_rewrite_in_progress="1")}, was_set) is None
    assert step({**ALL_ON, B: disk(B, aof_last_bgrewrite_status="err")}, was_set) is None
    assert step(ALL_ON, was_set) == Keep(B, "rb", A)
    assert step(ALL_ON, frozenset({(B, "of a process before")})) is None


def test_a_managed_primary_s_file_is_left_alone_and_that_is_said() -> None:
    was_set = frozenset({(A, "ra")})
    assert step(ALL_ON, was_set) is None
    said = why_not_kept(SETUP, RECORD, was_set)
    assert said is not None
    assert "appendfsync everysec, appendonly yes" in said
    assert "shardproxy switchover sessions 0" in said
    assert why_not_kept(SETUP, replace(RECORD, primary=B, run_id="rb"), was_set) is None
    adopted = replace(SETUP, is_managed=False)
    assert step(ALL_ON, was_set, setup=adopted) == Keep(A, "ra", None)
    assert why_not_kept(adopted, RECORD, was_set) is None


def test_what_was_refused_is_not_asked_again() -> None:
    sets = [Set(node, f"r{name}", (("appendonly", "yes"),)) for node, name in ((B, "b"), (C, "c"), (A, "a"))]
    for count, wanted in enumerate(sets):
        assert step(ALL_OFF, refused=tuple(sets[:count])) == wanted
    assert step(ALL_OFF, refused=tuple(sets)) is None


def test_who_has_no_file_is_set_all_the_same() -> None:
    was_set, keep = frozenset({(B, "rb")}), Keep(B, "rb", A)
    assert step(ALL_ON, was_set, refused=(keep,)) is None
    drifted = {**ALL_ON, B: disk(B, OFF)}
    assert step(drifted, was_set, refused=(keep,)) == Set(B, "rb", (("appendonly", "yes"),))


@pytest.mark.parametrize(
    "now",
    [
        RECORD.fenced(),
        replace(RECORD, state=ShardState.CONFLICT),
        replace(RECORD, joined=()),
    ],
    ids=["fenced", "conflict", "not joined"],
)
def test_a_shard_in_doubt_is_left_alone(now: ShardRecord) -> None:
    assert step(ALL_OFF, now=now) is None


def test_the_save_points_may_be_none() -> None:
    setup = replace(SETUP, persistence=(("save", ""),))
    assert step({B: disk(B, {"save": "900 1"})}, setup=setup) == Set(B, "rb", (("save", ""),))
    assert step({B: disk(B, {"save": ""})}, setup=setup) is None


def test_disks_that_fail_and_refusals_are_said() -> None:
    disks = {**ALL_ON, B: disk(B, aof_last_write_status="err", rdb_last_bgsave_status="err")}
    assert alarm_text(SETUP, RECORD, ALL_ON, {}) is None
    assert alarm_text(SETUP, RECORD, disks, {C: "NOPERM"}) == (
        f"{B}: its last write to the log of writes failed; {B}: its last save failed; {C}: NOPERM"
    )
    assert SETUP.key == KEY
