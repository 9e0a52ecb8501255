"""What the leader lets be changed of slots and holds, and when."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace

import pytest
import trio
import trio.testing

from shardproxy.failover.desk import HELD_MOST, LeaderDesk
from shardproxy.failover.interfaces import FenceError, NotSettledError, SlotDesk
from shardproxy.failover.led import LedRecords
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import SLOT_COUNT, Address, Hold, Node, SlotRange
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.cas import record_replace
from shardproxy.store.interface import ConflictError, Leadership, LeadershipLostError, together_check
from shardproxy.store.member import Finding, Member, Vote
from shardproxy.store.record import ShardRecord, ShardState
from tests.unit.coordination.make import MemberStore, no_acks

ONE, TWO = ShardKey("main", 0), ShardKey("main", 1)
LOW, HIGH = SlotRange(0, 8191), SlotRange(8192, SLOT_COUNT - 1)
ALL = (SlotRange(0, SLOT_COUNT - 1),)


def setup(key: ShardKey, *slots: SlotRange) -> ShardSetup:
    return ShardSetup(key, (Node(Address("10.0.0.1", 7000 + key.index)),), slots=slots)


def record(of: ShardSetup) -> ShardRecord:
    (primary,) = of.addresses
    return ShardRecord(of.key, 1, ShardState.OK, primary, of.addresses, run_id="r")


@dataclass
class Leading:
    """Until another one claims, or it resigns."""

    store: MemoryStore
    revision: int
    cluster: str = "main"

    def covers(self, seconds: float) -> bool:
        return self.store.leader == self.revision

    async def resign(self) -> None:
        await trio.lowlevel.checkpoint()
        self.store.leader = 0


class MemoryStore(MemberStore):
    """As any store, in memory."""

    def __init__(self) -> None:
        super().__init__(no_acks())
        self.leader = self.claims = self.revision = 0

    async def claim(self, cluster: str) -> Leadership:
        await trio.lowlevel.checkpoint()
        self.claims += 1
        self.leader = self.claims
        return Leading(self, self.leader)

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        (stored,) = await self.put_all((record,), leadership)
        return stored

    async def put_all(
        self, records: Sequence[ShardRecord], leadership: Leadership
    ) -> tuple[ShardRecord, ...]:
        together_check(records)
        await trio.lowlevel.checkpoint()
        if leadership.revision != self.leader:
            raise LeadershipLostError("another one leads")
        stored = [record_replace(self.records.get(one.key), one, self.revision + 1) for one in records]
        self.revision += 1
        for one in stored:
            self.records.show(one.key, one)
        return tuple(stored)


@dataclass
class Proxies:
    """Serve what is on record as soon as they are let."""

    store: MemoryStore
    late: set[ShardKey] = field(default_factory=set)
    asked: list[ShardRecord] = field(default_factory=list)
    when_asked: Callable[[], None] = lambda: None

    async def wait_served(self, record: ShardRecord) -> None:
        await self.wait_everywhere(record, within=5.0)

    async def wait_everywhere(self, record: ShardRecord, *, within: float) -> None:
        self.asked.append(record)
        self.when_asked()
        await trio.sleep(0.01)
        if record.key in self.late:
            raise FenceError(f"{record.key}: epoch {record.epoch} is not served by web-2 yet")

    def served(self, key: ShardKey) -> int:
        return self.store.records[key].changed


@dataclass
class Site:
    """One that leads."""

    store: MemoryStore
    leadership: Leadership
    setups: Board[ShardKey, ShardSetup]
    led: LedRecords
    proxies: Proxies
    desk: LeaderDesk

    async def has(self, **values: object) -> None:
        """Another record of the first shard, as its task writes it."""
        await self.led.put(replace(self.store.records[ONE], **values), self.leadership)  # type: ignore[arg-type]

    async def hold(self, *slots: SlotRange, only_writes: bool = False) -> None:
        hold = Hold(slots, only_writes)
        await self.desk.change({ONE: lambda record: replace(record, hold=hold)})

    async def move_all(self) -> None:
        """All of the first shard's slots, to the second."""
        await self.desk.change(
            {
                ONE: lambda record: replace(record, slots=(), hold=None),
                TWO: lambda record: replace(record, slots=ALL),
            }
        )

    @property
    def slots(self) -> list[tuple[SlotRange, ...]]:
        return [self.store.records[key].slots for key in (ONE, TWO)]


@pytest.fixture
async def site() -> Site:
    return await leading(MemoryStore())


async def leading(store: MemoryStore) -> Site:
    """A leader of two shards, the first of which has all slots."""
    leadership = await store.claim("main")
    setups: Board[ShardKey, ShardSetup] = Board()
    for one in (setup(ONE, *ALL), setup(TWO)):
        setups.show(one.key, one)
    led = LedRecords(store, leadership, setups)
    for one in setups.values():
        if one.key not in store.records:
            await led.put(record(one), leadership)
    proxies = Proxies(store)
    return Site(store, leadership, setups, led, proxies, LeaderDesk(led, proxies))


async def run_of(site: Site, *services: Callable[[SlotDesk], object]) -> None:
    await site.desk.run(services)  # type: ignore[arg-type]


# --- what may be changed ---


async def test_slots_move_at_once_when_all_proxies_hold_them(site: Site) -> None:
    assert site.slots == [ALL, ()]
    await site.hold(*ALL)
    await site.desk.wait_served([ONE, TWO], within=0.2)
    await site.move_all()
    assert site.slots == [(), ALL]
    one, two = site.store.records[ONE], site.store.records[TWO]
    assert one.revision == two.revision
    assert one.hold is None


async def test_slots_leave_nobody_who_may_still_be_asked_for_them(site: Site) -> None:
    with pytest.raises(NotSettledError, match="do not wait"):
        await site.move_all()
    await site.hold(*ALL)
    with pytest.raises(NotSettledError, match="before every proxy holds them"):
        await site.move_all()
    site.proxies.late = {ONE}
    with pytest.raises(FenceError, match="web-2"):
        await site.desk.wait_served([ONE, TWO], within=0.2)
    with pytest.raises(NotSettledError, match="before every proxy holds them"):
        await site.move_all()
    site.proxies.late = set()
    await site.hold(LOW)
    await site.desk.wait_served([ONE], within=0.2)
    with pytest.raises(NotSettledError, match="do not wait"):
        await site.move_all()
    await site.hold(*ALL, only_writes=True)
    await site.desk.wait_served([ONE], within=0.2)
    with pytest.raises(NotSettledError, match="do not wait"):
        await site.move_all()
    assert site.slots == [ALL, ()]


async def test_a_hold_that_was_given_up_and_taken_again_has_to_be_served_again(site: Site) -> None:
    await site.hold(*ALL)
    await site.desk.wait_served([ONE], within=0.2)
    await site.desk.change({ONE: lambda record: replace(record, hold=None)})
    await site.hold(*ALL)
    with pytest.raises(NotSettledError, match="before every proxy holds them"):
        await site.move_all()


async def test_only_slots_and_holds_are_changed_and_every_slot_keeps_one_owner(site: Site) -> None:
    for wrong in (
        lambda record: replace(record, epoch=9),
        lambda record: replace(record, slots=()),
        lambda record: replace(record, slots=(*ALL, LOW)),
    ):
        with pytest.raises(ValueError, match="slot"):
            await site.desk.change({ONE: wrong})
    assert site.slots == [ALL, ()]


async def test_a_change_may_be_refused_by_its_maker(site: Site) -> None:
    def refuse(record: ShardRecord) -> ShardRecord:
        raise LookupError(f"epoch {record.epoch}")

    before = dict(site.store.records)
    with pytest.raises(LookupError, match="epoch 1"):
        await site.desk.change({ONE: lambda record: replace(record, is_mixed=True), TWO: refuse})
    assert dict(site.store.records) == before


async def test_nothing_is_given_to_a_shard_that_a_proxy_would_not_serve(site: Site) -> None:
    site.store.members.show("web-2", Member("web-2"))
    site.store.votes.show(("web-2", ONE), Vote("10.0.0.1:7000", Finding.REACHES))
    with pytest.raises(NotSettledError, match="web-2 has an older config"):
        await site.desk.change({TWO: lambda record: replace(record, is_mixed=True)})
    site.store.votes.show(("web-2", TWO), Vote("10.0.0.1:7001", Finding.REACHES))
    await site.desk.change({TWO: lambda record: replace(record, is_mixed=True)})
    assert site.store.records[TWO].is_mixed


# --- beside the shards' tasks ---


async def test_a_shards_task_does_not_fail_because_of_a_change_and_undoes_none(site: Site) -> None:
    read = site.store.records[ONE]
    await site.hold(LOW)
    await site.desk.change({ONE: lambda record: replace(record, is_mixed=True)})
    written = await site.led.put(replace(read, floor=7, slots=()), site.leadership)
    assert (written.floor, written.hold, written.is_mixed, written.slots) == (7, Hold((LOW,)), True, ALL)
    assert site.store.records[ONE] == written
    with pytest.raises(ConflictError):
        await site.led.put(replace(read, floor=8), site.leadership)


async def test_a_change_waits_for_a_failover_to_end(
    site: Site, autojump_clock: trio.testing.MockClock
) -> None:
    fenced = site.store.records[ONE].fenced()
    await site.led.put(fenced, site.leadership)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.hold, LOW)
        await trio.sleep(1)
        assert site.store.records[ONE].hold is None
        fenced = site.store.records[ONE]
        await site.led.put(
            replace(fenced, state=ShardState.OK, primary=fenced.last, last=None), site.leadership
        )
    assert site.store.records[ONE].hold == Hold((LOW,))
    await site.has(state=ShardState.CONFLICT, primary=None)
    with pytest.raises(NotSettledError, match="no primary"):
        await site.hold(HIGH)
    await site.desk.change({ONE: lambda record: replace(record, hold=None)})
    assert site.store.records[ONE].hold is None


async def test_what_a_shard_that_fails_over_holds_proves_nothing(
    site: Site, autojump_clock: trio.testing.MockClock
) -> None:
    await site.hold(*ALL)
    async with trio.open_nursery() as nursery:
        fenced = site.store.records[ONE].fenced()
        site.proxies.when_asked = lambda: nursery.start_soon(site.led.put, fenced, site.leadership)
        with pytest.raises(FenceError, match="fails over"):
            await site.desk.wait_served([ONE], within=0.2)
    with pytest.raises(NotSettledError, match="no primary"):
        await site.move_all()
    assert site.slots == [ALL, ()]


async def test_acks_of_a_shard_that_failed_over_then_prove_nothing(site: Site) -> None:
    """While it had no primary what waits was acknowledged although some of it was under way."""
    await site.hold(*ALL)
    await site.led.put(site.store.records[ONE].fenced(), site.leadership)
    fenced = site.store.records[ONE]
    settled = replace(fenced, state=ShardState.OK, primary=fenced.last, last=None)

    async def settle() -> None:
        await site.led.put(settled, site.leadership)

    async with trio.open_nursery() as nursery:
        site.proxies.when_asked = lambda: nursery.start_soon(settle)
        with pytest.raises(FenceError, match="fails over"):
            await site.desk.wait_served([ONE], within=0.2)
    assert site.store.records[ONE].state is ShardState.OK
    with pytest.raises(NotSettledError, match="before every proxy holds them"):
        await site.move_all()


async def test_who_serves_the_cluster_and_has_not_said_which_shards_may_lack_one(site: Site) -> None:
    def mix() -> Coroutine[None, None, None]:
        return site.desk.change({TWO: lambda record: replace(record, is_mixed=True)})

    site.store.members.show("web-2", Member("web-2", endpoints={"other": ()}))
    await mix()
    await site.desk.change({TWO: lambda record: replace(record, is_mixed=False)})
    site.store.members.show("web-2", Member("web-2", endpoints={"main": ()}))
    with pytest.raises(NotSettledError, match="web-2 has an older config"):
        await mix()
    site.store.acks.show(("web-2", TWO), 1)  # a process that hands over serves it, and votes no more
    await mix()


async def test_who_leads_no_more_changes_nothing(site: Site) -> None:
    await site.leadership.resign()
    with pytest.raises(LeadershipLostError):
        await site.hold(LOW)
    assert site.store.records[ONE].hold is None


# --- what the leader does by itself ---


async def test_what_the_last_leader_held_waits_no_more(site: Site) -> None:
    await site.hold(*ALL)
    await site.desk.wait_served([ONE], within=0.2)
    seen: list[Hold | None] = []

    async def service(desk: SlotDesk) -> None:
        seen.append(desk.records[ONE].hold)
        nursery.cancel_scope.cancel()

    after = await leading(site.store)
    with pytest.raises(LeadershipLostError):
        await site.move_all()
    assert site.store.records[ONE].hold == Hold(ALL)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_of, after, service)
    assert seen == [None]


async def test_a_service_that_crashes_begins_anew_and_holds_nothing(
    site: Site, autojump_clock: trio.testing.MockClock
) -> None:
    begun = 0

    async def service(desk: SlotDesk) -> None:
        nonlocal begun
        begun += 1
        assert desk.records[ONE].hold is None
        if begun == 2:
            nursery.cancel_scope.cancel()
        await site.hold(LOW)
        raise RuntimeError("a bug")

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_of, site, service)
    assert begun == 2


async def test_losing_the_leadership_ends_it_all(site: Site) -> None:
    async def service(desk: SlotDesk) -> None:
        await site.leadership.resign()
        await site.hold(LOW)

    with trio.fail_after(5), pytest.RaisesGroup(LeadershipLostError, flatten_subgroups=True):
        await run_of(site, service)


async def test_what_is_held_for_ever_is_let_go_of(site: Site, autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_of, site)
        await site.hold(*ALL)
        await site.desk.wait_served([ONE], within=0.2)
        await trio.sleep(HELD_MOST - 0.5)
        assert site.store.records[ONE].hold is not None
        await trio.sleep(1)
        assert site.store.records[ONE].hold is None
        with pytest.raises(NotSettledError):
            await site.move_all()
        nursery.cancel_scope.cancel()


async def test_slots_that_nobody_has_on_record_are_put_there(
    site: Site, autojump_clock: trio.testing.MockClock
) -> None:
    site.store.records.hide(ONE)
    site.store.records.hide(TWO)
    site.setups.show(ONE, setup(ONE, LOW))
    site.setups.show(TWO, setup(TWO, HIGH))
    await site.led.put(record(site.setups[ONE]), site.leadership)
    assert site.store.records[ONE].slots == (LOW,)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_of, site)
        await trio.sleep(1)
        assert site.store.records[ONE].slots == (LOW,)
        site.setups.show(ONE, setup(ONE, *ALL))
        site.setups.hide(TWO)  # before it was ever on record
        await trio.sleep(1)
        assert site.store.records[ONE].slots == ALL
        site.setups.show(ONE, setup(ONE, LOW))
        site.setups.show(TWO, setup(TWO, HIGH))
        await site.led.put(record(site.setups[TWO]), site.leadership)
        await trio.sleep(1)
        assert site.slots == [ALL, ()]
        nursery.cancel_scope.cancel()
