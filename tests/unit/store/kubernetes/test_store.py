"""Several members over one fake API server, on a clock that tests turn: who leads, who is dead."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from shardproxy.config.store import KubernetesStore as Settings
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import ConflictError, LeadershipLostError, StoreUnavailableError
from shardproxy.store.kubernetes import KubernetesStore
from shardproxy.store.member import Finding, Member, Vote
from shardproxy.store.notes import NoteKey, NoteKind
from shardproxy.store.record import ShardRecord, ShardState
from tests.fixtures.fake_kubernetes import FakeKubernetes, FakeTransport

A, B = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379)
KEY = ShardKey("sessions", 0)
PAUSED = NoteKey("sessions", NoteKind.PAUSED)
SETTINGS = Settings(server="http://kubernetes", namespace="cache", ttl=6.0)


@pytest.fixture
def server() -> FakeKubernetes:
    return FakeKubernetes()


@dataclass
class Running:
    store: KubernetesStore
    way: FakeTransport
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def wait(self, is_so: Callable[[], bool], seconds: float = 30) -> None:
        with trio.fail_after(seconds):
            while not is_so():  # noqa: ASYNC110 - of any board, or none
                await trio.sleep(0.01)

    async def wait_synced(self, is_synced: bool = True) -> None:
        await self.wait(lambda: self.store.synced["sessions"] is is_synced)

    async def wait_record(self, record: ShardRecord, seconds: float = 30) -> None:
        await self.wait(lambda: self.store.records.get(KEY) == record, seconds)


@contextlib.asynccontextmanager
async def running(
    server: FakeKubernetes,
    name: str,
    *,
    follower: bool = False,
    keep: Path | None = None,
    way: FakeTransport | None = None,
) -> AsyncIterator[Running]:
    way = way or server.transport()
    store = KubernetesStore(
        SETTINGS,
        member=name,
        is_follower=follower,
        keep=keep,
        directory=Path("/"),
        clock=trio.current_time,
        transport=way,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        await store.follow(["sessions"])
        yield Running(store, way, nursery.cancel_scope)
        nursery.cancel_scope.cancel()


def record(epoch: int = 1, *, index: int = 0, revision: int = 0) -> ShardRecord:
    return ShardRecord(
        key=ShardKey("sessions", index),
        epoch=epoch,
        state=ShardState.OK,
        primary=A,
        nodes=(A, B),
        revision=revision,
    )


async def test_a_record_is_seen_by_all(server: FakeKubernetes, autojump_clock: MockClock) -> None:
    async with (
        running(server, "a-1") as a,
        running(server, "b-1") as b,
        running(server, "f", follower=True) as f,
    ):
        leadership = await a.store.claim("sessions")
        stored = await a.store.put(record(), leadership)
        assert a.store.records[KEY] == stored
        for other in (b, f):
            await other.wait_record(stored)
            assert other.store.leaders["sessions"] == "a-1"


async def test_who_was_a_member_before_a_record_is_shown_with_it(
    server: FakeKubernetes, autojump_clock: MockClock
) -> None:
    """Else a fence would not wait for it."""
    async with running(server, "a-1") as a:
        leadership = await a.store.claim("sessions")
        stored = await a.store.put(record(), leadership)
        a.way.silence()
        async with running(server, "b-1") as b:
            await b.store.announce(Member("b-1"))
            assert "b-1" not in a.store.members
            await a.store.put(replace(stored, epoch=2), leadership)
            assert "b-1" in a.store.members


async def test_250_records_at_once_are_a_few_puts(server: FakeKubernetes, autojump_clock: MockClock) -> None:
    async with running(server, "a-1") as a:
        a.way.delay = 0.01
        leadership = await a.store.claim("sessions")
        before = len(a.way.asked)
        async with trio.open_nursery() as nursery:
            for index in range(250):
                nursery.start_soon(a.store.put, record(index=index), leadership)
        puts = [
            name for method, name in a.way.asked[before:] if method == "PUT" and name.endswith("sessions")
        ]
        assert len(puts) <= 3
        assert len(a.store.records) == 250


async def test_what_was_read_before_a_change_is_a_conflict(
    server: FakeKubernetes, autojump_clock: MockClock
) -> None:
    async with running(server, "a-1") as a:
        leadership = await a.store.claim("sessions")
        stored = await a.store.put(record(), leadership)
        await a.store.put(replace(stored, epoch=2), leadership)
        with pytest.raises(ConflictError):
            await a.store.put(replace(stored, epoch=3), leadership)


async def test_a_dead_leader_is_replaced_after_its_time_and_writes_nothing_any_more(
    server: FakeKubernetes,
    autojump_clock: MockClock,
) -> None:
    async with running(server, "a-1") as a, running(server, "b-1") as b:
        first = await a.store.claim("sessions")
        stored = await a.store.put(record(), first)
        a.way.cut()
        cut = trio.current_time()
        second = await b.store.claim("sessions")
        assert SETTINGS.ttl - 2 < trio.current_time() - cut < SETTINGS.ttl + 2
        assert second.revision > first.revision
        assert not first.covers(0)
        assert "a-1" not in b.store.members
        await b.store.put(replace(stored, epoch=2), second)
        a.way.heal()
        with pytest.raises(LeadershipLostError):
            await a.store.put(replace(stored, epoch=3), first)
        await a.wait(lambda: a.store.records[KEY].epoch == 2)
        await a.wait_synced()
        assert set(b.store.members) == {"a-1", "b-1"}  # it lives again, and leads nothing


async def test_a_leadership_ends_before_anybody_else_can_lead(
    server: FakeKubernetes, autojump_clock: MockClock
) -> None:
    async with running(server, "a-1") as a, running(server, "b-1") as b:
        first = await a.store.claim("sessions")
        taken: list[float] = []

        async def take() -> None:
            await b.store.claim("sessions")
            taken.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.sleep(3)
            a.way.cut()
            assert a.store.leases["sessions"] <= trio.current_time() + SETTINGS.ttl
            while first.covers(0):
                assert not taken
                await trio.sleep(0.01)
        assert a.store.leases["sessions"] <= taken[0]


async def test_who_resigns_is_replaced_at_once(server: FakeKubernetes, autojump_clock: MockClock) -> None:
    async with running(server, "a-1") as a, running(server, "b-1") as b:
        first = await a.store.claim("sessions")
        await first.resign()
        assert not first.covers(0)
        with trio.fail_after(1):
            assert (await b.store.claim("sessions")).covers(1)


async def test_who_leaves_is_gone_at_once(server: FakeKubernetes, autojump_clock: MockClock) -> None:
    async with running(server, "a-1") as a, running(server, "b-1") as b:
        await a.store.announce(Member("a-1", label="a", zone="z1"))
        await b.wait(lambda: b.store.members.get("a-1") == Member("a-1", label="a", zone="z1"))
        await a.store.claim("sessions")
        await a.store.leave()
        with trio.fail_after(1):
            await b.store.claim("sessions")
            while "a-1" in b.store.members:
                await b.store.members.wait_changed(b.store.members.version)
        assert not [name for name in server.objects if name.endswith("a-1")]


async def test_acks_and_votes_are_seen_and_go_with_their_member(
    server: FakeKubernetes, autojump_clock: MockClock
) -> None:
    vote = Vote("10.0.0.1:6379", Finding.DOWN, "no answer")
    async with running(server, "a-1") as a, running(server, "b-1") as b:
        await a.store.ack(KEY, 7)
        await a.store.vote({KEY: vote})
        await b.wait(lambda: b.store.acks.get(("a-1", KEY)) == 7 and b.store.votes.get(("a-1", KEY)) == vote)
        await a.store.vote({KEY: None})
        await b.wait(lambda: ("a-1", KEY) not in b.store.votes)
        a.way.cut()
        await b.wait(lambda: ("a-1", KEY) not in b.store.acks)


async def test_acks_that_come_together_are_a_few_puts(
    server: FakeKubernetes, autojump_clock: MockClock
) -> None:
    """One after the other, 250 shards would take longer than a fence is waited for."""
    async with running(server, "a-1") as a, running(server, "b-1") as b:
        a.way.delay = 0.02
        before, began = len(a.way.asked), trio.current_time()
        for index in range(250):
            await a.store.ack(ShardKey("sessions", index), 5)
        await b.wait(lambda: len([one for one, _ in b.store.acks if one == "a-1"]) == 250)
        assert trio.current_time() - began < 0.2
        assert len(a.way.asked) - before <= 3


async def test_nobody_is_dead_because_the_server_was_away(
    server: FakeKubernetes, autojump_clock: MockClock
) -> None:
    async with running(server, "a-1") as a, running(server, "b-1") as b:
        leadership = await a.store.claim("sessions")
        for one in (a, b):
            one.way.cut()
        await trio.sleep(60)
        assert not leadership.covers(0)
        assert not a.store.synced["sessions"]
        b.way.heal()
        await trio.sleep(2)
        a.way.heal()
        await a.wait_synced()
        assert leadership.covers(1)  # nobody has gone on meanwhile
        assert set(b.store.members) == {"a-1", "b-1"}


async def test_what_is_not_synced_says_so_in_time(server: FakeKubernetes, autojump_clock: MockClock) -> None:
    async with running(server, "a-1") as a, running(server, "f", follower=True) as f:
        await a.store.claim("sessions")
        await f.wait_synced()
        cut = trio.current_time()
        a.way.cut()
        f.way.cut()
        for one, limit in ((f, 3.2), (a, 0.6 * SETTINGS.ttl + 0.2)):
            await one.wait_synced(False)
            assert trio.current_time() - cut <= limit
        a.way.heal()
        f.way.heal()
        for one in (a, f):
            await one.wait_synced()


async def test_a_follower_whose_watch_lags_is_not_synced(
    server: FakeKubernetes, autojump_clock: MockClock
) -> None:
    """What it shows comes as regularly as before."""
    async with running(server, "a-1") as a, running(server, "f", follower=True) as f:
        await a.store.claim("sessions")
        await trio.sleep(10)
        assert f.store.synced["sessions"]
        f.way.lag = 4.0
        for watch in f.way.watches:
            watch.lag = 4.0
        await trio.sleep(5)
        for _ in range(100):
            await trio.sleep(0.1)
            assert not f.store.synced["sessions"]


async def test_a_follower_of_no_leader_is_not_synced(
    server: FakeKubernetes, autojump_clock: MockClock
) -> None:
    async with running(server, "a-1") as a, running(server, "f", follower=True) as f:
        leadership = await a.store.claim("sessions")
        await trio.sleep(10)
        await f.wait_synced()
        await leadership.resign()
        await trio.sleep(4)
        await f.wait_synced(False)
        before = len(f.way.asked)
        await trio.sleep(60)
        assert len(f.way.asked) - before <= 12


async def test_a_follower_writes_nothing(server: FakeKubernetes, autojump_clock: MockClock) -> None:
    async with running(server, "a-1") as a, running(server, "f", follower=True) as f:
        await a.store.claim("sessions")
        await f.store.announce(Member("f"))
        await f.store.ack(KEY, 1)
        await f.store.vote({KEY: None})
        with pytest.raises(StoreUnavailableError, match="follower"):
            await f.store.note(PAUSED, True)
        with trio.move_on_after(5) as waited:
            await f.store.claim("sessions")
        assert waited.cancelled_caught
        await trio.sleep(30)
        await f.store.leave()
        assert {method for method, _ in f.way.asked} == {"GET", "WATCH"}
        assert set(f.store.members) == {"f"}


async def test_a_server_that_was_restored_is_said(
    server: FakeKubernetes, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(server, "a-1") as a:
        stored = await a.store.put(record(), await a.store.claim("sessions"))
        server.version = 50
        server.compact()
        a.store._watcher.list_again()
        await trio.sleep(2)
        assert "the API server has gone back" in capsys.readouterr().out
        assert a.store.records[KEY] == stored


async def test_a_silent_watch_is_found(server: FakeKubernetes, autojump_clock: MockClock) -> None:
    async with (
        running(server, "a-1") as a,
        running(server, "b-1") as b,
        running(server, "f", follower=True) as f,
    ):
        leadership = await a.store.claim("sessions")
        await trio.sleep(5)
        b.way.silence()
        f.way.silence()
        stored = await a.store.put(record(), leadership)
        for one in (b, f):
            await one.wait_record(stored, seconds=8)
            await one.wait_synced()
        assert set(b.store.members) == {"a-1", "b-1"}


async def test_410_is_listed_again(server: FakeKubernetes, autojump_clock: MockClock) -> None:
    async with running(server, "a-1") as a, running(server, "b-1") as b:
        leadership = await a.store.claim("sessions")
        stored = await a.store.put(record(), leadership)
        await a.store.note(PAUSED, True)
        await b.wait(lambda: PAUSED in b.store.notes)
        b.way.cut()
        await a.store.drop(PAUSED)
        stored = await a.store.put(replace(stored, epoch=2), leadership)
        server.compact()
        b.way.heal()
        await b.wait(lambda: b.store.records[KEY] == stored)
        assert PAUSED not in b.store.notes


@pytest.mark.parametrize("fault", ["lost_answers", "lost_requests"])
async def test_a_write_without_an_answer_is_made_once(
    server: FakeKubernetes, autojump_clock: MockClock, fault: str
) -> None:
    async with running(server, "a-1") as a:
        leadership = await a.store.claim("sessions")
        stored = await a.store.put(record(), leadership)
        setattr(a.way, fault, 1)
        again = await a.store.put(replace(stored, epoch=2), leadership)
        assert again.revision == stored.revision + 1
        assert a.store.records[KEY] == again
        assert server.objects["shardproxy.sessions"]["data"]["revision"] == str(again.revision)


@pytest.mark.parametrize("fault", ["none", "lost_answers", "lost_requests"])
async def test_several_records_are_one_put_and_seen_together(
    server: FakeKubernetes, autojump_clock: MockClock, fault: str
) -> None:
    other = ShardKey("sessions", 1)
    async with running(server, "a-1") as a, running(server, "b-1") as b:
        leadership = await a.store.claim("sessions")
        first, second = await a.store.put_all([record(), record(index=1)], leadership)
        await b.wait_record(first)
        seen: list[set[int]] = []

        async def watch() -> None:
            while True:
                version = b.store.records.version
                seen.append({b.store.records[key].revision for key in (KEY, other)})
                await b.store.records.wait_changed(version)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            if fault != "none":
                setattr(a.way, fault, 1)
            before = len(a.way.asked)
            again = await a.store.put_all([replace(first, floor=1), replace(second, epoch=2)], leadership)
            assert [one.revision for one in again] == [first.revision + 1] * 2
            await b.wait_record(again[0])
            nursery.cancel_scope.cancel()
        puts = [asked for asked in a.way.asked[before:] if asked == ("PUT", a.way.asked[before][1])]
        assert fault != "none" or len(puts) == 1
        assert seen == [{first.revision}, {again[0].revision}]
        with pytest.raises(ConflictError):
            await a.store.put_all([again[0], second], leadership)
        assert [a.store.records[key] for key in (KEY, other)] == list(again)


async def test_a_claim_without_an_answer_leads_once(
    server: FakeKubernetes, autojump_clock: MockClock
) -> None:
    async with running(server, "a-1") as a:
        await a.store.claim("sessions")
        a.way.lost_answers = 1
        assert (await a.store.claim("sessions")).revision == 2


async def test_notes_of_two_writers_are_both_kept(server: FakeKubernetes, autojump_clock: MockClock) -> None:
    async with running(server, "a-1") as a, running(server, "b-1") as b:
        for way in (a.way, b.way):
            way.delay = 0.02

        async def note(one: Running, name: str) -> None:
            await one.store.note(NoteKey("sessions", NoteKind.SCRIPT, name), name)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(note, (a, b)[number % 2], f"s{number}")
        await a.wait(lambda: len(a.store.notes) == 20)
        await b.wait(lambda: len(b.store.notes) == 20)


async def test_notes_are_compared_and_set(server: FakeKubernetes, autojump_clock: MockClock) -> None:
    async with running(server, "a-1") as a:
        note = await a.store.note(PAUSED, {"by": "ann"}, expected=0)
        with pytest.raises(ConflictError):
            await a.store.note(PAUSED, {"by": "bob"}, expected=0)
        note = await a.store.note(PAUSED, {"by": "bob"}, expected=note.revision)
        assert a.store.notes[PAUSED] == note
        await a.store.drop(PAUSED, expected=note.revision)
        await a.store.drop(PAUSED)
        assert PAUSED not in a.store.notes
        with pytest.raises(ValueError):
            await a.store.note(PAUSED, "x" * (600 << 10))


async def test_without_rights_the_error_says_which_file_has_them(
    server: FakeKubernetes, autojump_clock: MockClock
) -> None:
    way = server.transport()
    way.refuse = (403, {"message": 'configmaps is forbidden: User "x" cannot list'})
    async with running(server, "a-1", way=way) as a:
        assert not a.store.synced["sessions"]
        with pytest.raises(StoreUnavailableError, match=r"rbac\.yaml"):
            await a.store.announce(Member("a-1"))
        with pytest.raises(StoreUnavailableError):
            await a.store.claim("sessions")
        way.refuse = None
        await a.wait_synced()
        assert (await a.store.claim("sessions")).covers(1)


async def test_what_was_kept_is_shown_while_the_server_is_away(
    server: FakeKubernetes, autojump_clock: MockClock, tmp_path: Path
) -> None:
    autojump_clock.autojump_threshold = 0.002  # a thread writes the file
    keep = tmp_path / "state.json.kept"
    async with running(server, "a-1", keep=keep) as a:
        leadership = await a.store.claim("sessions")
        stored = await a.store.put(record(), leadership)
        note = await a.store.note(PAUSED, True)
        await a.wait(lambda: keep.exists() and b'"paused"' in keep.read_bytes())
    way = server.transport()
    way.cut()
    async with running(server, "a-2", keep=keep, way=way) as a:
        assert a.store.records[KEY] == stored
        assert a.store.notes[PAUSED] == note
        assert not a.store.synced["sessions"]
        async with running(server, "b-1") as b:
            await b.store.drop(PAUSED)
        way.heal()
        await a.wait_synced()
        assert PAUSED not in a.store.notes
        assert a.store.records[KEY] == stored


async def test_a_deleted_object_is_served_as_it_was_and_put_back(
    server: FakeKubernetes, autojump_clock: MockClock
) -> None:
    async with running(server, "a-1") as a, running(server, "b-1") as b:
        await a.store.note(PAUSED, True)
        first = await a.store.claim("sessions")
        stored = await a.store.put(record(epoch=7), first)
        await b.wait_record(stored)
        for name in ("shardproxy.sessions", "shardproxy.sessions.paused"):
            server.change("DELETED", server.objects[name])
        await trio.sleep(0.1)
        for one in (a, b):
            assert one.store.records[KEY] == stored
            assert one.store.notes[PAUSED].value is True
        await b.wait(lambda: "shardproxy.sessions" in server.objects, 2)
        assert first.covers(1)
        last = await a.store.put(replace(stored, epoch=8), first)
        await b.wait_record(last)
        await b.store.note(NoteKey("sessions", NoteKind.PAUSED, "other"), True)
        assert set(b.store.notes) > {PAUSED}


async def test_who_comes_after_an_object_was_deleted_takes_no_epoch_back(
    server: FakeKubernetes, autojump_clock: MockClock
) -> None:
    async with running(server, "a-1") as a, running(server, "b-1") as b:
        first = await a.store.claim("sessions")
        stored = await a.store.put(record(epoch=7), first)
        await b.wait_record(stored)
        await b.store.ack(KEY, stored.changed + 1000)
        async with running(server, "c-1") as c:
            c.store._boards.follow((), ())  # as one that has begun a moment later
            c.store._mirror._objects.pop("shardproxy.sessions")
            server.change("DELETED", server.objects["shardproxy.sessions"])
            await c.store.follow(["sessions"])
            second = await c.store.claim("sessions")
            begun = await c.store.put(record(epoch=1), second)
            assert begun.changed > stored.changed + 1000, "the acks of before are none of this record"
            await b.wait(lambda: b.store.leaders["sessions"] == "c-1")
            assert b.store.records[KEY] == replace(stored, revision=0)
            assert not first.covers(0)
            await b.wait_record(await c.store.put(replace(begun, epoch=8), second))


async def test_what_was_kept_outlives_its_object(
    server: FakeKubernetes, autojump_clock: MockClock, tmp_path: Path
) -> None:
    autojump_clock.autojump_threshold = 0.002  # a thread writes the file
    keep = tmp_path / "state.json.kept"
    async with running(server, "a-1", keep=keep) as a:
        stored = await a.store.put(record(epoch=7), await a.store.claim("sessions"))
        await a.wait(lambda: keep.exists() and b'"shards": [{' in keep.read_bytes())
    server.change("DELETED", server.objects["shardproxy.sessions"])
    way = server.transport()
    way.cut()
    async with running(server, "a-2", keep=keep, way=way) as a:
        way.heal()
        await a.wait_synced()
        assert a.store.records[KEY] == replace(stored, revision=0)
        leadership = await a.store.claim("sessions")
        with pytest.raises(ConflictError):
            await a.store.put(record(epoch=6), leadership)
        again = await a.store.put(replace(a.store.records[KEY], epoch=8), leadership)
        assert a.store.records[KEY] == again


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("shardproxy.member.b-1", {"member": '"x"'}),
        ("shardproxy.member.b-1", {"member": "{"}),
        ("shardproxy.alive.b-1", {"member": "{"}),
        ("shardproxy.alive.b-1", {"beat": '"x"', "member": '"b-1"'}),
        ("shardproxy.sessions", {"leader": "{}"}),
        ("shardproxy.sessions", {"leader": "["}),
        ("shardproxy.sessions.paused", {"notes": "[]"}),
        ("shardproxy.sessions.renew", {"renew": "{}"}),
    ],
)
async def test_a_damaged_object_ends_nobody(
    server: FakeKubernetes, autojump_clock: MockClock, name: str, data: dict[str, str]
) -> None:
    async with running(server, "a-1") as a, running(server, "b-1") as b:
        await b.store.announce(Member("b-1"))
        await b.store.note(PAUSED, True)
        stored = await b.store.put(record(), await b.store.claim("sessions"))
        await a.wait_record(stored)
        await b.wait(lambda: name in server.objects)
        server.change("MODIFIED", {**copy.deepcopy(server.objects[name]), "data": data, "binaryData": {}})
        for one in (a, b):
            with trio.move_on_after(10), contextlib.suppress(StoreUnavailableError):
                await one.store.claim("sessions")
            with contextlib.suppress(StoreUnavailableError):
                await one.store.note(PAUSED, True)
        await trio.sleep(80)
        assert a.store.records[KEY].epoch == stored.epoch
        assert a.store.synced["sessions"]


async def test_who_died_long_ago_leaves_nothing(server: FakeKubernetes, autojump_clock: MockClock) -> None:
    async with running(server, "a-1") as a:
        await a.store.announce(Member("a-1"))
    async with running(server, "b-1"):
        await trio.sleep(100)
    assert not [name for name in server.objects if name.endswith("a-1")]


def test_no_two_things_have_the_same_name() -> None:
    from shardproxy.store.kubernetes.names import Names

    names = Names("a-b")
    found = [
        names.cluster("c"),
        names.cluster("C"),
        names.cluster("c_"),
        names.cluster("member"),
        Names("a").cluster("b-c"),
        names.member("x"),
        names.alive("x"),
        names.renew("member"),
        names.notes("alive", NoteKind.EVENT),
    ]
    assert len(set(found)) == len(found)
