"""A job of moves from its start to its end, broken at every effect on the outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import structlog
import trio
import trio.testing

from shardproxy.failover.interfaces import FenceError
from shardproxy.jobs.interface import JobError
from shardproxy.jobs.job import JobState
from shardproxy.model import Address, SlotRange
from shardproxy.model.slots import slots_added, slots_removed
from shardproxy.replication.interface import CopyError, CopyPhase, CopyStatus, End
from shardproxy.reshard.flushes import Flushes, flushes_read
from shardproxy.reshard.layout import Move
from shardproxy.reshard.lingering import MARGIN
from shardproxy.reshard.memo import Leg, Memo, Step
from shardproxy.reshard.settings import CarrySettings
from shardproxy.reshard.worker import ReshardWorker
from shardproxy.store.interface import StoreUnavailableError
from tests.unit.reshard.world import (
    Break,
    CrashError,
    FakeCopier,
    FakeDesk,
    FakeWork,
    World,
    crash,
    fails,
    key_of,
    parts_of,
    primary_of,
    slot_of,
)

SCALE = {"do": "scale", "shards": 2}
SETTINGS = CarrySettings(undo_tries=5)


@pytest.fixture(autouse=True)
def _quiet() -> object:
    with structlog.testing.capture_logs() as logs:
        yield logs


Clock = trio.testing.MockClock


def filled(shards: int = 2) -> World:
    world = World(shards)
    world.fill(range(0, 16384, 1500))
    return world


async def run(
    world: World, wants: Mapping[str, object] = SCALE, work: FakeWork | None = None
) -> dict[str, object]:
    """As the leader's service does: again where the store was away."""
    worker = ReshardWorker(parts_of(world), SETTINGS)
    while True:
        try:
            return dict(await worker.run(FakeDesk(world), work or FakeWork(world, wants)))
        except StoreUnavailableError:
            await trio.sleep(1)


async def test_half_of_the_slots_move_and_the_source_has_none_of_them_left(autojump_clock: Clock) -> None:
    world = filled()
    result = await run(world)
    assert result["slots"] == 8192
    assert [world.owner_of(slot) for slot in (0, 8191, 8192, 16383)] == [0, 0, 1, 1]
    assert world.faults() == []
    assert not any(record.is_mixed for record in world.records.values())
    assert all(copier.is_stopped for copier in world.copiers)
    assert world.statistics.slots_moved == {"main": 8192}
    assert world.statistics.keys_moved == {"main": 5}
    assert world.pauses == [pytest.approx(0.0052, abs=0.001)]


async def test_both_shards_hide_copies_before_the_first_key_is_copied(autojump_clock: Clock) -> None:
    world, seen = filled(), []

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == "copy" and not is_after:
            seen.append([record.is_mixed for record in world.records.values()])

    world.breaks = breaks
    await run(world)
    assert seen == [[True, True]]


async def test_nothing_leaves_the_source_before_all_serve_the_new_owner(autojump_clock: Clock) -> None:
    world = filled()
    refusals = iter(range(3))

    def breaks(number: int, name: str, is_after: bool) -> None:
        if is_after or world.owner_of(16000) == 0:
            return
        if name == "served" and next(refusals, None) is not None:
            raise FenceError("p2 does not follow")
        assert name != "UNLINK" or next(refusals, None) is None

    world.breaks = breaks
    await run(world)
    assert world.faults() == []


async def test_a_slot_that_is_the_sources_again_keeps_its_keys(autojump_clock: Clock) -> None:
    """From one batch of keys to the next, or between the look at one and its end."""
    world, slot = filled(), SlotRange(16000, 16000)
    done = False

    def breaks(number: int, name: str, is_after: bool) -> None:
        nonlocal done
        source, target = (world.engines[primary_of(shard)] for shard in (0, 1))
        if name == "SCAN" and is_after and world.owner_of(16000) == 1 and not done:
            done = True
            source.keys[b"16000:count"] = target.keys.pop(b"16000:count")
            giver, taker = world.records[key_of(1)], world.records[key_of(0)]
            world.records[key_of(1)] = replace(giver, slots=slots_removed(giver.slots, (slot,)))
            world.records[key_of(0)] = replace(taker, slots=slots_added(taker.slots, (slot,)))

    world.breaks = breaks
    world.engines[primary_of(0)].keys_per_scan = 100
    await run(world)
    assert done
    assert world.faults() == []


@pytest.mark.parametrize("how", ["primary", "lead"])
async def test_nothing_is_removed_by_who_may_be_wrong_about_whose_the_keys_are(
    how: str, autojump_clock: Clock
) -> None:
    """The source's primary is another shard's by now; or another process may lead."""
    world, another = filled(), Address("shard0", 7002)
    old = world.engines[primary_of(0)]
    since = 0.0

    def breaks(number: int, name: str, is_after: bool) -> None:
        nonlocal since
        if name == "SCAN" and is_after and world.owner_of(16000) == 1 and not since:
            since = trio.current_time()
            if how == "lead":
                world.is_led = False
                return
            record = world.records[key_of(0)]
            world.records[key_of(0)] = replace(
                record, epoch=record.epoch + 1, primary=another, run_id="other"
            )
            world.engines[another] = replace(old, keys=dict(old.keys), run_id="other")
        if since and trio.current_time() > since + 10:
            world.is_led = True
        if since and name == "UNLINK" and not is_after:
            assert how == "primary" or world.is_led
            had.append(set(old.keys))

    had: list[set[bytes]] = []
    world.breaks = breaks
    await run(world)
    assert had
    if how == "primary":
        assert old.keys.keys() >= had[0], "the old one keeps what it had"
        assert not [key for key in world.engines[another].keys if slot_of(key) > 8191]
    else:
        assert world.faults() == []


def broken_at(number: int, how: Break) -> object:
    def breaks(effect: int, name: str, is_after: bool) -> None:
        if effect == number:
            how(name, is_after)

    return breaks


@pytest.mark.parametrize("when_after", [False, True], ids=["before", "after"])
async def test_the_next_leader_ends_it_well_after_a_crash_at_any_effect(
    when_after: bool, autojump_clock: Clock
) -> None:
    number, crashes = 0, 0
    counted: set[int] = set()
    while True:
        number += 1
        world = filled()
        world.breaks = broken_at(number, crash(when_after))  # type: ignore[assignment]
        try:
            await run(world)
            break
        except CrashError:
            crashes += 1
        world.breaks = lambda number, name, is_after: None
        await run(world)
        assert world.owner_of(16000) == 1, f"effect {number}"
        assert world.faults() == [], f"effect {number}"
        assert not any(record.is_mixed for record in world.records.values()), f"effect {number}"
        counted.add(world.statistics.slots_moved.get("main", 0))
    assert crashes > 30
    assert counted <= {0, 8192}, "never twice; not at all where its leg was on record, and who counts died"


@pytest.mark.parametrize("when_after", [False, True], ids=["before", "after"])
async def test_one_failure_at_any_effect_loses_nothing(when_after: bool, autojump_clock: Clock) -> None:
    """It goes on, or ends with the slots where they were."""
    number, moved, stayed = 0, 0, 0
    while True:
        number += 1
        world = filled()
        world.breaks = broken_at(number, fails(when_after))  # type: ignore[assignment]
        try:
            await run(world)
            moved += 1
            assert world.owner_of(16000) == 1, f"effect {number}"
        except JobError:
            stayed += 1
            assert world.owner_of(16000) == 0, f"effect {number}"
        assert world.faults() == [], f"effect {number}"
        if world.effects < number:
            break
    assert moved > stayed > 0


@pytest.mark.parametrize("when_after", [False, True], ids=["before", "after"])
async def test_given_up_anywhere_it_is_undone_or_completed(when_after: bool, autojump_clock: Clock) -> None:
    number, undone, complete = 0, 0, 0
    while True:
        number += 1
        world = filled()
        work = FakeWork(world, SCALE)

        def breaks(
            effect: int, name: str, is_after: bool, number: int = number, work: FakeWork = work
        ) -> None:
            if effect == number and is_after is when_after:
                work.turn(JobState.ABORTING)

        world.breaks = breaks
        result = await run(world, work=work)
        if result["complete"]:
            complete += 1
            assert world.owner_of(16000) == 1, f"effect {number}"
        else:
            undone += 1
            assert world.owner_of(16000) == 0, f"effect {number}"
        assert world.faults() == [], f"effect {number}"
        assert not any(record.is_mixed for record in world.records.values()), f"effect {number}"
        if world.effects < number:
            break
    assert undone > 5
    assert complete > 5


async def test_a_fence_that_does_not_hold_is_tried_again_and_then_given_up(autojump_clock: Clock) -> None:
    world, tries = filled(), 0

    def breaks(number: int, name: str, is_after: bool) -> None:
        nonlocal tries
        if name == "close":
            assert world.records[key_of(0)].hold is None
        if name == "reach" and not is_after:
            tries += 1
            fails(False)(name, is_after)

    world.breaks = breaks
    with pytest.raises(JobError, match=r"10 times the slots could not be held: broke.*where they were"):
        await run(world)
    assert tries == 10
    assert world.faults() == []
    assert world.owner_of(16000) == 0


async def test_an_offset_of_another_history_is_not_waited_for(autojump_clock: Clock) -> None:
    """The source's history has another name than the copier knows: it hears of it, and is asked again."""
    world = filled()

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == "close" and is_after:
            closes.append(number)
            if len(closes) == 2:  # all was compared: the fence is next
                world.engines[primary_of(0)].replid = "b" * 40

    closes: list[int] = []
    world.breaks = breaks
    await run(world)
    (copier,) = world.copiers
    assert copier.refused == 1
    assert world.owner_of(16000) == 1
    assert world.faults() == []


async def test_copiers_are_told_which_processes_are_meant(autojump_clock: Clock) -> None:
    """And which other one is, as soon as that is on record: at the same address, after a restart."""
    world = filled()
    source = world.engines[primary_of(0)]

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == "copy" and is_after:
            world.copiers[-1].is_close = False

    world.breaks = breaks
    seen: list[tuple[str | None, ...]] = []
    real = FakeCopier.sources

    async def sources(self: FakeCopier, sources: Sequence[End]) -> None:
        seen.append(tuple(end.process for end in sources))
        await real(self, sources)

    FakeCopier.sources = sources  # type: ignore[method-assign]
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, world)
            await trio.sleep(1)
            plan = world.copiers[0].plan
            assert [end.process for end in plan.sources] == [None, "run0"]
            assert [target.end.process for target in plan.targets] == ["run1"]
            source.run_id = "anew"
            world.records[key_of(0)] = replace(world.records[key_of(0)], run_id="anew")
            await trio.sleep(1)
            assert seen == [(None, "anew")]
            nursery.cancel_scope.cancel()
    finally:
        FakeCopier.sources = real  # type: ignore[method-assign]


async def test_requests_wait_no_longer_than_the_fence_may_last(autojump_clock: Clock) -> None:
    world = filled()
    held: list[float] = []
    slow = FakeCopier.reach

    async def reach(
        self: FakeCopier, offset: int, replid: str, *, within: float, replicas: int = 0, rests: bool = False
    ) -> None:
        began = trio.current_time()
        try:
            await trio.sleep(60)
        finally:
            held.append(trio.current_time() - began)

    FakeCopier.reach = reach  # type: ignore[method-assign]
    try:
        with pytest.raises(JobError, match="not within 200 ms"):
            await run(world)
    finally:
        FakeCopier.reach = slow  # type: ignore[method-assign]
    assert len(held) == 10
    assert max(held) <= 0.2
    assert world.faults() == []


@pytest.mark.parametrize("is_written", [False, True])
async def test_nothing_is_written_to_the_target_while_nobody_knows_who_owns_the_slots(
    is_written: bool, autojump_clock: Clock
) -> None:
    """The store is away from the moment of the write on that may have given it the slots."""
    world = filled()
    away_until = 0.0
    meanwhile: list[str] = []

    def breaks(number: int, name: str, is_after: bool) -> None:
        nonlocal away_until
        is_publishing = name == "change" and world.copiers and world.copiers[-1].is_stopped
        if is_publishing and is_after is is_written and not away_until:
            away_until = trio.current_time() + 30
        if trio.current_time() >= away_until:
            return
        if name in ("change", "save"):
            raise StoreUnavailableError("away")
        meanwhile.append(name)

    world.breaks = breaks
    await run(world)
    assert away_until
    assert set(meanwhile) <= {"served"}, "no copier, and no UNLINK"
    assert len(world.copiers) == (1 if is_written else 2)
    assert world.owner_of(16000) == 1
    assert world.faults() == []


@pytest.mark.parametrize(
    ("how", "why"),
    [({"stop_takes": 0.3}, "not within 200 ms"), ({"unanswered": 1}, "may yet do what the copier sent")],
    ids=["late", "unanswered"],
)
async def test_a_copier_that_does_not_end_well_is_followed_by_another_one(
    how: dict[str, float], why: str, autojump_clock: Clock
) -> None:
    world = filled()
    most = 2  # copiers

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == "close" and is_after and len(world.copiers) <= most:
            for field, value in how.items():
                setattr(world.copiers[-1], field, value)

    world.breaks = breaks
    await run(world)
    assert len(world.copiers) == 3
    assert world.faults() == []
    most = 20
    world.memo = {}
    with pytest.raises(JobError, match=f"copied 5 times in vain: .*{why}"):
        await run(world, {"do": "drain", "shard": "s1"})
    assert world.owner_of(16000) == 1
    assert world.faults() == []


async def test_what_differs_is_never_published(autojump_clock: Clock) -> None:
    world = filled()

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == "close" and is_after:
            world.copiers[-1].differs = True

    world.breaks = breaks
    with pytest.raises(JobError, match="3 times copied, and not what the source has: 3 keys differ"):
        await run(world)
    assert len(world.copiers) == 3
    assert world.owner_of(16000) == 0
    assert world.faults() == []


async def test_what_is_found_different_while_clients_write_holds_nobody_up(autojump_clock: Clock) -> None:
    world = filled()
    names: list[str] = []

    def breaks(number: int, name: str, is_after: bool) -> None:
        names.append(name)
        if name == "close" and is_after:
            world.copiers[-1].is_unlike = True

    world.breaks = breaks
    with pytest.raises(JobError, match="3 times copied, and not what the source has: key k differs"):
        await run(world)
    assert len(world.copiers) == 3
    assert world.owner_of(16000) == 0
    assert world.faults() == []
    assert "compare" in names
    assert "reach" not in names, "the slots were held"


async def test_what_differs_is_copied_anew(autojump_clock: Clock) -> None:
    world = filled()

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == "close" and is_after:
            world.copiers[-1].differs = len(world.copiers) < 3

    world.breaks = breaks
    await run(world)
    assert len(world.copiers) == 3
    assert world.owner_of(16000) == 1
    assert world.faults() == []


@pytest.mark.parametrize("when", ["reach", "verify"])
async def test_a_target_that_failed_over_is_copied_to_anew(when: str, autojump_clock: Clock) -> None:
    world = filled()
    done: list[int] = []

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == when and is_after and not done and world.records[key_of(0)].hold:
            done.append(number)
            record = world.records[key_of(1)]
            world.records[key_of(1)] = replace(record, epoch=record.epoch + 1)
            world.engines[primary_of(1)].keys.clear()

    world.breaks = breaks
    await run(world)
    assert len(world.copiers) == 2
    assert world.faults() == []
    assert world.owner_of(16000) == 1


async def test_a_stream_faster_than_the_copy_stops_it(autojump_clock: Clock) -> None:
    world = filled()

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == "copy" and is_after:
            world.copiers[-1].is_close = False

    world.breaks = breaks

    async def close_never() -> None:
        with pytest.raises(JobError, match="change faster than they can be copied"):
            await run(world)

    real = FakeCopier.is_close
    FakeCopier.is_close = False
    try:
        await close_never()
    finally:
        FakeCopier.is_close = real
    assert world.faults() == []


async def test_a_source_that_is_emptied_again_and_again_stops_it(autojump_clock: Clock) -> None:
    world = filled()

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == "copy" and is_after:
            world.copiers[-1].is_close = False
            world.copiers[-1].status = CopyStatus(CopyPhase.COPYING, passes=CarrySettings().passes + 1)

    world.breaks = breaks
    with trio.fail_after(600), pytest.raises(JobError, match="begun anew 20 times"):
        await run(world)
    assert world.owner_of(16000) == 0
    assert world.faults() == []


async def test_paused_it_keeps_nothing_running_and_goes_on_when_resumed(autojump_clock: Clock) -> None:
    world = filled()
    work = FakeWork(world, SCALE)
    world.breaks = lambda number, name, is_after: (
        work.turn(JobState.PAUSED) if name == "copy" and not is_after and len(world.copiers) == 0 else None
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run(world, work=work))
        with trio.fail_after(30):
            await work.wait_shown("paused")
        await trio.sleep(100)
        assert world.copiers[0].is_stopped
        assert world.owner_of(16000) == 0
        work.turn(JobState.RUNNING)
    assert world.owner_of(16000) == 1
    assert world.faults() == []


async def test_keys_that_a_target_has_of_a_former_try_do_not_stay(autojump_clock: Clock) -> None:
    world = filled()
    world.engines[primary_of(1)].keys[b"16000:ghost"] = 1
    world.engines[primary_of(1)].keys[b"3:leftover"] = 1  # of a slot that does not move
    world.records[key_of(1)] = replace(world.records[key_of(1)], is_mixed=True)
    await run(world)
    assert b"16000:ghost" not in world.engines[primary_of(1)].keys
    assert b"3:leftover" not in world.engines[primary_of(1)].keys
    assert world.faults() == []


async def test_functions_are_there_before_keys_are(autojump_clock: Clock) -> None:
    world = filled()
    world.engines[primary_of(0)].libraries[b"lib"] = b"#!lua name=lib\n..."
    await run(world)
    assert b"lib" in world.engines[primary_of(1)].libraries


async def test_a_target_without_room_is_refused_and_nothing_is_touched(autojump_clock: Clock) -> None:
    world = filled()
    world.engines[primary_of(1)].facts["maxmemory"] = "1200"
    with pytest.raises(JobError, match="would be full"):
        await run(world)
    assert world.copiers == []
    assert world.faults() == []


async def test_several_pairs_are_moved_one_after_the_other(autojump_clock: Clock) -> None:
    world = filled(3)
    await run(world, {"do": "scale", "shards": 3})
    assert [len(copier.plan.targets) for copier in world.copiers] == [1, 1]
    assert world.faults() == []
    await_drained = {"do": "drain", "shard": "s0"}
    world.memo = {}
    await run(world, await_drained)
    assert world.records[key_of(0)].slots == ()
    assert world.engines[primary_of(0)].keys == {}
    assert world.faults() == []


async def test_a_plan_says_what_moves_and_changes_nothing(autojump_clock: Clock) -> None:
    world = filled()
    before = dict(world.records)
    plan = await ReshardWorker(parts_of(world)).plan(FakeDesk(world), SCALE)
    assert world.records == before
    assert plan["moves"][0]["count"] == 8192
    assert plan["lines"][0] == "2 shards"
    assert plan["lines"][1].startswith("s0 -> s1: 8192 slots (8192-16383), about ")
    assert plan["why_not"] is None


def leg_at(step: str) -> dict[str, object]:
    """The memo of a job whose only leg gives shard 1 the upper half."""
    leg = Leg(Move(key_of(0), key_of(1), (SlotRange(8192, 16383),)), Step(step))
    return Memo((leg,)).write()


@pytest.mark.parametrize("step", ["plan", "clean_target", "copy", "catch_up", "fence"])
@pytest.mark.parametrize("gone", [SlotRange(12000, 16383), SlotRange(8192, 8192)], ids=["many", "one"])
async def test_what_the_target_owns_a_part_of_already_is_not_cleaned(
    step: str, gone: SlotRange, autojump_clock: Clock
) -> None:
    world = filled()
    source, target = world.records[key_of(0)], world.records[key_of(1)]
    world.records[key_of(0)] = replace(source, slots=slots_removed(source.slots, (gone,)))
    world.records[key_of(1)] = replace(target, slots=(gone,))
    named = [key for key in world.engines[primary_of(0)].keys if gone.first <= slot_of(key) <= gone.last]
    for key in named:
        world.engines[primary_of(1)].keys[key] = world.engines[primary_of(0)].keys.pop(key)
    world.memo = leg_at(step)
    with pytest.raises(JobError, match=r"shard 1, owns slots .* already"):
        await run(world)
    assert world.copiers == []
    assert world.faults() == []
    assert world.owner_of(gone.first) == 1
    assert not any(record.is_mixed for record in world.records.values())


async def test_what_a_third_shard_owns_is_not_moved(autojump_clock: Clock) -> None:
    world = filled(3)
    last = (SlotRange(16383, 16383),)
    world.records[key_of(0)] = replace(world.records[key_of(0)], slots=(SlotRange(0, 16382),))
    world.records[key_of(2)] = replace(world.records[key_of(2)], slots=last)
    world.memo = leg_at("clean_target")
    with pytest.raises(JobError, match="shard 0, does not own slots 16383"):
        await run(world)
    assert world.copiers == []


async def test_those_whom_nobody_waits_for_have_time_to_hear_of_it(autojump_clock: Clock) -> None:
    """Of the move before requests are held, and of the new owner before the source's keys go."""
    world = filled()
    world.lingers = 5.0
    seen: dict[str, float] = {}

    def breaks(number: int, name: str, is_after: bool) -> None:
        source, target = world.records[key_of(0)], world.records[key_of(1)]
        if is_after and source.is_mixed:
            seen.setdefault("mixed", trio.current_time())
        if source.hold is not None:
            seen.setdefault("held", trio.current_time())
        if target.slots:
            seen.setdefault("published", trio.current_time())
            if name == "UNLINK":
                seen.setdefault("swept", trio.current_time())

    world.breaks = breaks
    await run(world)
    assert seen["held"] - seen["mixed"] >= 5.0 + MARGIN
    assert seen["swept"] - seen["published"] >= 5.0 + MARGIN
    assert world.pauses[0] < 0.1
    assert world.faults() == []


async def test_who_is_out_of_touch_is_told_by_the_source(autojump_clock: Clock) -> None:
    """Its seal is there before the hold, and the next one under it, before it is asked how far it has got."""
    world = filled()
    world.lingers = 5.0
    source = world.engines[primary_of(0)]
    seen: list[tuple[int, bool]] = []

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == "SCRIPT" and is_after:
            seen.append((len(source.scripts), world.records[key_of(0)].hold is not None))

    world.breaks = breaks
    await run(world)
    assert seen == [(1, False), (2, False), (3, True)]
    assert source.scripts == [f"seal {key_of(0)} {number}" for number in (0, 0, 1)]
    assert world.records[key_of(0)].generation == 1
    assert world.engines[primary_of(1)].scripts == []


async def test_nothing_is_published_where_what_was_sent_last_could_come_late(autojump_clock: Clock) -> None:
    world = filled()

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == "copy" and is_after:
            copier = world.copiers[-1]
            copier.status = replace(copier.status, unguarded="older copiers cannot be ended: NOPERM")

    world.breaks = breaks
    with pytest.raises(
        JobError, match="older copiers cannot be ended: NOPERM: what they sent last could come"
    ):
        await run(world)
    assert world.owner_of(16000) == 0
    assert world.faults() == []


@pytest.mark.parametrize("when", ["copy", "verify"])
async def test_a_target_that_makes_room_keeps_nothing(when: str, autojump_clock: Clock) -> None:
    """While it is copied to, or as late as under the hold: the source has the slots as before."""
    world = filled()
    target = world.engines[primary_of(1)]

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == when and is_after:
            target.facts["evicted_keys"] = "7"

    world.breaks = breaks
    with pytest.raises(JobError, match=r"evicts keys .7 since it is copied to.: give it more memory"):
        await run(world)
    assert world.owner_of(16000) == 0
    assert target.keys == {}
    assert world.records[key_of(0)].hold is None
    assert world.faults() == []


@pytest.mark.parametrize("fault", ["is_unlike", "differs"])
async def test_what_differs_as_the_target_makes_room_is_not_copied_again(
    fault: str, autojump_clock: Clock
) -> None:
    world = filled()
    target = world.engines[primary_of(1)]

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == ("compare" if fault == "is_unlike" else "verify") and not is_after:
            setattr(world.copiers[-1], fault, True)
            target.facts["evicted_keys"] = str(7 * len(world.copiers))

    world.breaks = breaks
    with pytest.raises(JobError, match=r"evicts keys .7 since it is copied to.: give it more memory"):
        await run(world)
    assert len(world.copiers) == 1
    assert world.faults() == []


async def test_nothing_moves_from_where_nobody_could_be_told(autojump_clock: Clock) -> None:
    world = filled()
    world.lingers = 5.0
    world.engines[primary_of(0)].refuses_scripts = True
    with pytest.raises(JobError, match=r"takes no seal of its slots .SCRIPT LOAD.: NOPERM"):
        await run(world)
    assert world.copiers == []
    assert world.faults() == []


async def test_a_leader_that_takes_up_a_published_move_gives_them_time_too(autojump_clock: Clock) -> None:
    world = filled()
    world.lingers = 5.0
    world.breaks = lambda number, name, is_after: (
        crash(False)(name, is_after) if name == "UNLINK" and not is_after and world.owner_of(16000) else None
    )
    with pytest.raises(CrashError):
        await run(world)
    began, swept = trio.current_time(), []
    world.breaks = lambda number, name, is_after: (
        swept.append(trio.current_time()) if name == "UNLINK" else None
    )
    await run(world)
    assert swept[0] - began >= 5.0 + MARGIN
    assert world.faults() == []


def away_once_copied(world: World) -> None:
    """The target answers nothing any more from the first verification on."""

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == "verify":
            world.down.add(primary_of(1))
            raise CopyError("the target is gone")

    world.breaks = breaks


async def test_a_source_hides_nothing_for_ever_as_the_target_is_gone(autojump_clock: Clock) -> None:
    world = filled()
    away_once_copied(world)
    with pytest.raises(JobError, match=r"still at the target, hidden .*: the next job"):
        await run(world)
    assert not world.records[key_of(0)].is_mixed
    assert world.records[key_of(1)].is_mixed
    assert world.faults() == []
    world.down.clear()
    world.breaks = lambda number, name, is_after: None
    world.memo = {}
    await run(world)
    assert world.faults() == []
    assert not any(record.is_mixed for record in world.records.values())


@pytest.mark.parametrize("end", ["given up", "not in the config"])
async def test_a_source_that_is_gone_once_its_slots_are_the_targets_ends_no_less(
    end: str, autojump_clock: Clock
) -> None:
    """Nobody needs it any more: whoever takes it away by then keeps no later job from beginning."""
    world = filled()
    work = FakeWork(world, SCALE)

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == "change" and world.owner_of(16000) == 1:
            world.down.add(primary_of(0))

    world.breaks = breaks
    results: list[dict[str, object]] = []
    ended = trio.Event()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            results.append(await run(world, work=work))
            ended.set()

        await work.wait_shown("tried again")
        await trio.sleep(4 * SETTINGS.undo_tries)
        assert not results, "it may come back"
        if end == "given up":
            work.turn(JobState.ABORTING)
        else:
            del world.setups[key_of(0)]
        with trio.fail_after(60):
            await ended.wait()
    assert results[0]["complete"]
    assert "still there, hidden" in str(results[0]["text"])
    assert [world.records[key_of(shard)].is_mixed for shard in (0, 1)] == [True, False]
    assert world.faults() == []


async def test_a_source_that_had_leftovers_before_hides_them_on(autojump_clock: Clock) -> None:
    world = filled()
    world.engines[primary_of(0)].keys[b"3:mine"] = 1
    world.records[key_of(0)] = replace(world.records[key_of(0)], is_mixed=True)
    away_once_copied(world)
    with pytest.raises(JobError, match="hidden"):
        await run(world)
    assert world.records[key_of(0)].is_mixed


@pytest.mark.parametrize("when", ["close", "change", "served", "reach", "verify"])
async def test_a_target_that_was_flushed_meanwhile_is_copied_to_anew(
    when: str, autojump_clock: Clock
) -> None:
    """A FLUSHALL of before, through the proxy, reaches it late: nobody marks the copies it has wiped."""
    world = filled()

    def breaks(number: int, name: str, is_after: bool) -> None:
        target = world.engines[primary_of(1)]
        if name == when and is_after and world.copiers and not target.flushed:
            target.flushed = 1
            target.keys.clear()

    world.breaks = breaks
    await run(world)
    assert len(world.copiers) == 2
    assert world.owner_of(16000) == 1
    assert world.faults() == []


async def test_a_target_that_does_not_say_whether_it_was_flushed_is_copied_to_anew(
    autojump_clock: Clock,
) -> None:
    """The copier has ended by then: what it copied cannot be gone on with."""
    world, failed = filled(), False

    def breaks(number: int, name: str, is_after: bool) -> None:
        nonlocal failed
        if name == "verify" and is_after and not failed:
            failed = True
            world.down.add(primary_of(1))
        elif name == "change":
            world.down.discard(primary_of(1))

    world.breaks = breaks
    await run(world)
    assert failed
    assert len(world.copiers) == 2
    assert world.owner_of(16000) == 1
    assert world.faults() == []


@pytest.mark.parametrize(
    ("before", "after", "is_same"),
    [
        pytest.param("", "", True, id="never"),
        pytest.param("flushall:calls=2,usec=1", "flushall:calls=2,usec=9", True, id="before alone"),
        pytest.param("get:calls=2,usec=1", "get:calls=7,usec=9", True, id="other commands"),
        pytest.param("flushall:calls=2,usec=1", "flushall:calls=3,usec=1", False, id="all"),
        pytest.param("", "flushdb:calls=1,usec=1", False, id="one"),
        pytest.param("flushdb:calls=1,usec=1", "", False, id="counts begun anew"),
    ],
)
def test_what_counts_as_flushed(before: str, after: str, is_same: bool) -> None:
    def read(text: str) -> Flushes:
        return flushes_read(f"# Commandstats\r\ncmdstat_{text}\r\n".encode(), b"evicted_keys:0\r\n")

    assert (read(before) == read(after)) is is_same


async def test_nothing_is_held_while_the_store_is_slow(autojump_clock: Clock) -> None:
    world = filled()
    world.wrote_in = 0.15
    held: list[float] = []

    def breaks(number: int, name: str, is_after: bool) -> None:
        if world.records[key_of(0)].hold is not None:
            held.append(world.wrote_in)
        if name == "save" and trio.current_time() > 3:
            world.wrote_in = 0.02

    world.breaks = breaks
    await run(world)
    assert set(held) == {0.02}
    assert world.owner_of(16000) == 1
    assert world.faults() == []


async def test_a_store_that_stays_slow_ends_it_with_words(autojump_clock: Clock) -> None:
    world = filled()
    world.wrote_in = 0.15
    with pytest.raises(JobError, match="the store took 150 ms for the last write, and 100 ms are the most"):
        await run(world)
    assert world.faults() == []


@pytest.mark.parametrize("when", ["copy", "close", "verify"])
async def test_other_key_families_end_a_leg(when: str, autojump_clock: Clock) -> None:
    """What was copied is of slots that keys had by the families of before."""
    world = filled()

    def breaks(number: int, name: str, is_after: bool) -> None:
        if name == when and is_after:
            world.families = (("user:*", "user:(.*)"),)
        if name == "verify" and is_after and when == "verify":
            world.copiers[-1].is_close = False
            raise CopyError("broke")

    world.breaks = breaks
    with pytest.raises(JobError, match="key families of the config have changed"):
        await run(world)
    assert world.owner_of(16000) == 0
    assert world.faults() == []
