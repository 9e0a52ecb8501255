"""One process's data plane follows the records; what it serves, and only that, is acknowledged."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing

from shardproxy.model import Address, Hold, SlotRange
from shardproxy.model.health import Cause, NodeHealth, NodeState, Verdict
from shardproxy.model.replication import Role, ShardKey
from shardproxy.store.notes import Note, NoteKey, NoteKind
from shardproxy.store.record import Promise, ShardState
from shardproxy.topology.follower import KNOWN_WITHIN, LATE, REFUSED, SERVE_WITHIN
from shardproxy.topology.reload import ServeError
from tests.unit.topology.make import (
    KEY,
    OTHER,
    A,
    B,
    C,
    D,
    clusters,
    following,
    memcached,
    record,
    redis,
    seen,
)

FENCED = record(ShardState.FENCING, None, last=A, changed=6, epoch=4)
PROMOTED = record(ShardState.OK, B, changed=8, epoch=4)


async def test_what_is_on_record_is_served_from_the_first() -> None:
    async with following() as site:
        site.put(record(run_id="r"))
        await site.serve(clusters(main=redis((A, B))))
        assert site.plane.primaries() == [str(A)]
        assert site.follower.applied == {KEY: 5}


async def test_a_record_without_a_primary_fences_and_another_one_is_served() -> None:
    async with following(main=redis((A, B))) as site:
        assert site.plane.primaries() == [None]
        for now, primary in ((record(), str(A)), (FENCED, None), (PROMOTED, str(B))):
            site.put(now)
            await site.settle()
            assert site.plane.primaries() == [primary]
            assert site.plane.specs["main"]["epoch"] == now.changed
            assert site.follower.applied == {KEY: now.changed}
            assert site.follower.topologies["main"].epoch == now.changed


async def test_slots_are_as_on_record_whatever_a_new_config_says() -> None:
    def served() -> list[list[tuple[int, int]]]:
        return [shard["slots"] for shard in site.plane.specs["main"]["shards"]]

    def put(shard: int, *slots: SlotRange, changed: int) -> None:
        node = (A, B)[shard]
        key = (KEY, OTHER)[shard]
        site.put(record(primary=node, nodes=(node,), key=key, slots=slots, changed=changed))

    low, high = SlotRange(0, 8191), SlotRange(8192, 16383)
    async with following(main=redis((A,), (B,))) as site:
        assert served() == [[(0, 8191)], [(8192, 16383)]]
        put(0, low, changed=5)
        await site.settle()
        assert served() == [[(0, 8191)], [(8192, 16383)]]
        put(1, high, changed=6)
        await site.settle()
        await site.serve(clusters(main=redis({"nodes": [A], "slots": "0-9999"}, {"nodes": [B]})))
        assert served() == [[(0, 8191)], [(8192, 16383)]]
        put(0, changed=7)
        put(1, low, high, changed=7)
        await site.settle()
        assert served() == [[], [(0, 8191), (8192, 16383)]]
        await site.serve(clusters(main=redis({"nodes": [A], "slots": "0-8191"}, {"nodes": [B]})))
        assert served() == [[], [(0, 8191), (8192, 16383)]]


async def test_what_was_on_record_meanwhile_is_not_served() -> None:
    async with following(main=redis((A, B))) as site:
        site.plane.gate = trio.Event()
        site.put(record())
        await site.settle()
        site.put(FENCED)
        site.put(PROMOTED)
        site.plane.gate.set()
        await site.settle()
        assert [spec["epoch"] for spec in site.plane.told] == [0, 5, 8]


async def test_nothing_is_asked_of_the_data_plane_that_it_serves_already() -> None:
    async with following(main=redis((A, B))) as site:
        site.put(record())
        await site.settle()
        count = len(site.plane.told)
        site.boards.health.show((KEY, A), seen(epoch=1))
        site.put(record(floor=900))
        await site.settle()
        assert len(site.plane.told) == count


async def test_nothing_is_acknowledged_before_it_is_served() -> None:
    async with following(main=redis((A, B))) as site:
        site.put(record())
        await site.settle()
        site.plane.gate = trio.Event()
        site.put(FENCED)
        await site.settle()
        assert site.plane.told[-1]["epoch"] == 6
        assert site.follower.applied == {KEY: 5}
        site.plane.gate.set()
        await site.settle()
        assert site.follower.applied == {KEY: 6}


async def test_a_slow_worker_is_waited_for_before_it_is_acknowledged(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with following(main=redis((A, B))) as site:
        site.put(record())
        await site.settle()
        site.plane.late_until = trio.current_time() + 1.0
        site.put(FENCED)
        await site.settle()
        assert site.plane.primaries() == [None], "the other workers have it"
        assert site.follower.topologies["main"].shards[0].primary is None
        assert site.follower.applied == {KEY: 5}
        await trio.sleep(0.95)
        assert site.follower.applied == {KEY: 5}
        await trio.sleep(0.05 + LATE)
        assert site.follower.applied == {KEY: 6}


async def test_who_is_out_of_touch_serves_carefully_and_says_so_once_all_workers_do(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with following(main=redis((A, B)), pages=memcached(C, port=7001)) as site:
        site.put(record(promise=Promise(frozenset({B}))))
        site.boards.health.show((KEY, A), seen(Role.PRIMARY))
        site.boards.health.show((KEY, B), replace(seen(), is_current=True))
        await site.settle()
        capsys.readouterr()
        site.plane.late_until = trio.current_time() + 1.0
        site.follower.synced.show("main", False)
        await site.settle()
        shard = site.plane.specs["main"]["shards"][0]
        assert (shard.get("wait"), shard.get("voters"), shard.get("read_only")) == (1, [str(B)], None)
        assert site.plane.primaries() == [str(A)]
        assert not site.follower.careful
        await trio.sleep(1.0 + LATE)
        assert site.follower.careful == {"main": True}
        site.boards.health.show((KEY, B), seen())
        await site.settle()
        shard = site.plane.specs["main"]["shards"][0]
        assert "no replica is in sync" in shard.get("read_only", "")
        site.follower.synced.show("main", True)
        await site.settle()
        shard = site.plane.specs["main"]["shards"][0]
        assert "wait" not in shard
        assert "read_only" not in shard
        assert not site.follower.careful
        assert site.follower.applied == {KEY: 5}
        assert capsys.readouterr().out.count("out of touch with the store") == 1


async def test_what_is_refused_is_not_acknowledged_and_asked_again(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with following(main=redis((A, B))) as site:
        site.put(record())
        await site.settle()
        site.plane.refuses = [OSError(24, "Too many open files")] * 2
        site.put(FENCED)
        await site.settle()
        assert (site.plane.primaries(), site.follower.applied[KEY]) == ([str(A)], 5)
        await trio.sleep(REFUSED * 1.5)
        assert (site.plane.primaries(), site.follower.applied[KEY]) == ([str(A)], 5)
        await trio.sleep(REFUSED)
        assert (site.plane.primaries(), site.follower.applied[KEY]) == ([None], 6)
    assert capsys.readouterr().out.count("Too many open files") == 1


async def test_a_number_found_while_the_data_plane_refuses_is_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with following(main=redis((A, B))) as site:
        site.plane.refuses = [OSError(24, "Too many open files")]
        site.put(record(key=ShardKey("main", 2)))
        await site.settle()
        assert site.follower.applied == {}
        await trio.sleep(REFUSED * 1.5)
        assert [shard["label"] for shard in site.plane.specs["main"]["shards"]] == ["2"]
        assert site.plane.primaries() == [str(A)]
        assert site.follower.applied == {ShardKey("main", 2): 5}


async def test_a_shard_that_is_not_configured_is_acknowledged_once_its_slots_are_not_served_here(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def slots() -> dict[str, int]:
        return {shard["label"]: len(shard["slots"]) for shard in site.plane.specs["main"]["shards"]}

    async with following(main=redis((A, B))) as site:
        site.put(record(slots=(SlotRange(0, 16383),)), record(nodes=(C,), primary=C, key=OTHER))
        await site.settle()
        assert (dict(site.follower.applied), slots()) == ({KEY: 5, OTHER: 5}, {"0": 1})
        site.plane.refuses = [OSError(24, "Too many open files")]
        moved = (SlotRange(0, 16383),)
        site.put(
            record(changed=6, hold=Hold(moved)),
            record(nodes=(C,), primary=C, key=OTHER, slots=moved, changed=6),
        )
        await site.settle()
        assert (dict(site.follower.applied), slots()) == ({KEY: 5, OTHER: 5}, {"0": 1})
        await trio.sleep(REFUSED * 1.5)
        assert (dict(site.follower.applied), slots()) == ({KEY: 6, OTHER: 6}, {"0": 0, "1": 1})


async def test_what_is_held_of_a_shard_that_is_not_configured_is_acknowledged_when_it_has_drained(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with following(main=redis((A, B))) as site:
        site.plane.under_way = {"main"}
        held = (SlotRange(0, 16383),)
        site.put(
            record(slots=()),
            record(nodes=(C,), primary=C, key=OTHER, slots=held, hold=Hold(held), changed=6),
        )
        await trio.sleep(1)
        assert site.follower.applied == {KEY: 5}
        site.plane.under_way = set()
        await trio.sleep(1)
        assert site.follower.applied == {KEY: 5, OTHER: 6}


async def test_who_could_not_be_told_how_to_serve_out_of_touch_stays_bound_by_the_lease(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with following(main=redis((A, B))) as site:
        site.put(record(promise=Promise(frozenset({B}))))
        await site.settle()
        site.plane.refuses = [OSError(24, "Too many open files")]
        site.follower.synced.show("main", False)
        await site.settle()
        assert not site.follower.careful
        await trio.sleep(REFUSED * 1.5)
        assert site.follower.careful == {"main": True}
        assert site.plane.specs["main"]["shards"][0].get("wait") == 1, "every worker was told"


async def test_one_cluster_that_is_refused_holds_up_no_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    key = ShardKey("b", 0)
    async with following(main=redis((A, B)), b=redis((C,), port=7001)) as site:
        site.plane.refuses = [ValueError("no")]
        site.put(record(), record(primary=C, nodes=(C,), key=key))
        await site.settle()
        assert site.follower.applied == {key: 5}
        await trio.sleep(REFUSED * 1.5)
        assert site.follower.applied == {key: 5, KEY: 5}


async def test_a_follower_that_was_stopped_acknowledges_nothing_more() -> None:
    async with following(main=redis((A, B))) as site:
        site.put(record())
        await site.settle()
    site.put(FENCED)
    await trio.testing.wait_all_tasks_blocked()
    assert site.follower.applied == {KEY: 5}


async def test_a_follower_that_is_stopped_while_it_is_served_goes_on_when_started_again() -> None:
    async with following(main=redis((A, B))) as site:
        site.plane.gate = trio.Event()
        site.put(record())
        await site.settle()
    assert site.follower.applied == {}
    site.plane.gate.set()
    async with trio.open_nursery() as nursery:
        await nursery.start(site.follower.run)
        await site.settle()
        assert site.follower.applied == {KEY: 5}
        nursery.cancel_scope.cancel()


async def test_a_shard_that_is_not_served_here_is_acknowledged_as_it_comes() -> None:
    elsewhere = ShardKey("elsewhere", 3)
    async with following(main=redis((A, B))) as site:
        site.put(record(key=elsewhere, changed=7), record(key=OTHER, changed=8))
        await site.settle()
        assert site.follower.applied == {elsewhere: 7, OTHER: 8}
        assert site.plane.specs["main"]["epoch"] == 8, "as in the processes that serve it"
        await site.serve({})
        site.put(record(changed=9))
        await site.settle()
        assert site.follower.applied == {elsewhere: 7, OTHER: 8, KEY: 9}


async def test_of_a_cluster_that_was_withdrawn_nothing_is_acknowledged_any_more() -> None:
    async with following(main=redis((A, B))) as site:
        site.put(record(changed=7))
        await site.settle()
        assert site.follower.applied == {KEY: 7}
        await site.serve({})
        site.follower.records.hide(KEY)  # nothing more is heard of its changes
        await site.settle()
        assert site.follower.applied == {}


async def test_a_shard_that_slow_workers_may_still_serve_is_not_acknowledged(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its nodes were taken out of the config; a worker that has not heard of it still asks them."""
    async with following(main=redis((A,), (B,))) as site:
        site.put(record(nodes=(A,)), record(nodes=(B,), primary=B, key=OTHER, changed=6))
        await site.settle()
        site.plane.late_until = trio.current_time() + 1.0

        async def reload() -> None:
            await site.serve(clusters(main=redis((A,))))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reload)
            await site.settle()
            gone = record(ShardState.FENCING, None, (B,), last=B, key=OTHER, changed=7)
            site.put(gone)
            await site.settle()
            assert site.follower.applied[OTHER] == 6
        await site.settle()
        assert site.follower.applied[OTHER] == 7


async def test_readable_replicas_and_voters_go_with_the_record() -> None:
    promised = record(promise=Promise(frozenset({B}), wait=1))
    async with following(main=redis((A, B), reads={"from": "replica"}, writes={"wait": 1})) as site:
        site.put(promised)
        site.boards.reads.show(KEY, frozenset())
        await site.settle()
        assert KEY not in site.follower.readable, "nobody was asked yet"
        for node in (A, B):
            site.boards.health.show((KEY, node), seen())
        await site.settle()
        assert site.follower.readable == {KEY: frozenset()}
        site.boards.reads.show(KEY, frozenset({B}))
        await site.settle()
        assert site.follower.readable == {KEY: frozenset({B})}
        site.put(record(ShardState.OK, B, changed=6, epoch=4))
        site.boards.reads.show(KEY, frozenset({A}))
        await site.settle()
        assert site.follower.readable == {KEY: frozenset({B})}, "nobody was asked in its new role"
        await site.serve({})
        assert site.follower.readable == {}


async def test_other_voters_on_record_are_told_without_news_of_their_health() -> None:
    async with following(main=redis((A, B, C), writes={"wait": 1})) as site:
        for changed, voter in ((5, B), (6, C)):
            site.put(record(nodes=(A, B, C), promise=Promise(frozenset({voter}), wait=1), changed=changed))
            await site.settle()
            assert site.plane.specs["main"]["shards"][0]["voters"] == [str(voter)]


# --- what is configured ---


async def test_a_config_is_served_once_slow_workers_have_it(autojump_clock: trio.testing.MockClock) -> None:
    async with following() as site:
        site.plane.late_until = trio.current_time() + 1.0
        assert await site.serve(clusters(main=redis((A, B)))) == {"main": ["127.0.0.1:7000"]}
        assert trio.current_time() >= site.plane.late_until


async def test_a_config_that_a_worker_does_not_take_is_given_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with following(main=redis((A,))) as site:
        site.plane.late_until = trio.current_time() + SERVE_WITHIN + LATE
        with pytest.raises(ServeError, match="within 1 s"):
            await site.serve(clusters(main=redis((B,))))
        assert site.plane.primaries() == [str(A)]


async def test_shards_have_the_numbers_that_turn_out_to_be_on_record() -> None:
    """A store that could not be reached at the start may know them by others."""
    async with following(main=redis((A, B), (C, D))) as site:
        first, second, gone = ShardKey("main", 7), ShardKey("main", 0), ShardKey("main", 1)
        halves = SlotRange(0, 8191), SlotRange(8192, 16383)
        site.put(
            record(primary=B, key=first, changed=5, slots=halves[:1]),
            record(primary=D, nodes=(C, D), key=second, changed=6, slots=halves[1:]),
        )
        await site.settle()
        assert site.plane.primaries() == [str(D), str(B)], "in the order of their numbers"
        assert [s["slots"] for s in site.plane.specs["main"]["shards"]] == [[(8192, 16383)], [(0, 8191)]]
        assert [setup.key for setup in site.follower.clusters["main"].setups] == [second, first]
        assert site.follower.applied == {first: 5, second: 6}
        site.put(record(primary=Address("127.0.0.1", 7999), nodes=(), key=gone, changed=7))
        await site.settle()
        assert len(site.follower.clusters["main"].setups) == 2


async def test_a_pool_has_epochs_of_its_own_that_outlive_the_process() -> None:
    async with following(pages=memcached(A)) as site:
        assert site.plane.specs["pages"]["epoch"] == 1
        await site.serve(clusters(pages=memcached(A, limits={"clients": 7})))
        assert site.plane.specs["pages"]["epoch"] == 1
        await site.serve(clusters(pages=memcached(A, B)))
        assert site.plane.specs["pages"]["epoch"] == 2
        assert site.notebook.notes[NoteKey("pages", NoteKind.EPOCH)].value["epoch"] == 2
        await site.serve({})
        await site.serve(clusters(pages=memcached(A)))
        assert site.plane.specs["pages"]["epoch"] == 3


async def test_a_slow_disk_or_name_of_a_pool_holds_up_no_fence() -> None:
    async with following(main=redis((A, B))) as site:
        site.put(record())
        await site.settle()
        is_free = trio.Event()

        real = site.notebook.note

        async def note_slowly(key: NoteKey, value: object, *, expected: int | None = None) -> Note:
            await is_free.wait()
            return await real(key, value, expected=expected)

        site.notebook.note = note_slowly  # type: ignore[method-assign]
        wanted = clusters(main=redis((A, B)), pages=memcached(C, port=7001))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.serve, wanted)
            await site.settle()
            site.put(FENCED)
            await site.settle()
            assert site.follower.applied == {KEY: 6}
            is_free.set()
        assert set(site.plane.specs) == {"main", "pages"}


async def test_readiness_waits_for_primaries_and_readable_replicas_but_not_for_long(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with following(main=redis((A, B), (C,))) as site:
        started = trio.current_time()
        await site.follower.wait_known()
        assert trio.current_time() - started == KNOWN_WITHIN

        async def become_known() -> None:
            await trio.sleep(0.5)
            site.put(record())
            await trio.sleep(0.5)
            site.boards.reads.show(KEY, frozenset({B}))
            for node in (A, B):
                site.boards.health.show((KEY, node), seen())
            await trio.sleep(0.5)
            site.boards.health.show((OTHER, C), seen())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(become_known)
            started = trio.current_time()
            await site.follower.wait_known()
            assert trio.current_time() - started == 1.5
        await site.follower.wait_known()
        assert trio.current_time() - started == 1.5


@pytest.mark.parametrize("state", [NodeState.SUSPECT, NodeState.DOWN])
async def test_readiness_waits_for_no_node_that_does_not_answer(
    autojump_clock: trio.testing.MockClock, state: NodeState
) -> None:
    async with following(main=redis((A,))) as site:
        health = NodeHealth(Verdict(state, "connection refused", 0.0, cause=Cause.DEAD))
        site.boards.health.show((KEY, A), health)
        started = trio.current_time()
        await site.follower.wait_known()
        assert trio.current_time() == started
