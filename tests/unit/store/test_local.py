"""The state file: whole or old, never half; one writer; epochs only grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.failover.requests import paused_key
from shardproxy.model import Address, SlotRange
from shardproxy.model.replication import Lineage, ShardKey
from shardproxy.store.cas import record_replace
from shardproxy.store.codec import record_decode, record_encode
from shardproxy.store.interface import ConflictError, Leadership, LeadershipLostError, StoreUnavailableError
from shardproxy.store.local import LocalStore, StateFileError
from shardproxy.store.local import file as local_file
from shardproxy.store.member import Member
from shardproxy.store.notes import MAX_NOTE, MAX_NOTES, NoteKey, NoteKind, is_paused
from shardproxy.store.record import Flapping, Promise, ShardRecord, ShardState
from shardproxy.store.replace import file_replace

KEY = ShardKey("sessions", 0)
A, B = Address("10.0.0.1", 7001), Address("10.0.0.2", 7001)
RECORD = ShardRecord(
    KEY,
    1,
    ShardState.OK,
    A,
    (A, B),
    joined=(A, B),
    name="first",
    slots=(SlotRange(0, 8191), SlotRange(9000, 9000)),
    promise=Promise(frozenset({B}), 1),
    pending=(Promise(frozenset({A, B}), 2),),
    floor=77,
    flapping=Flapping(30.0, 1.5e9),
    lineage=Lineage("x"),
    run_id="r",
)
OPEN = """
import sys
from pathlib import Path
from shardproxy.store.local import LocalStore
LocalStore(Path(sys.argv[1])).__enter__()
"""


async def test_records_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.json"
    with LocalStore(path) as store:
        stored = await store.put(RECORD, await store.claim("sessions"))
        group = store.group
        assert stored.revision > 0
        assert store.records[KEY] == stored
    with LocalStore(path) as again:
        assert again.records[KEY] == stored
        assert again.group == group
        assert (await again.claim("sessions")).revision == 2
    assert path.stat().st_mode & 0o077 == 0


async def test_only_what_was_read_last_can_be_replaced(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "state.json") as store:
        leadership = await store.claim("sessions")
        first = await store.put(RECORD, leadership)
        second = await store.put(first.fenced(), leadership)
        with pytest.raises(ConflictError, match="read at revision"):
            await store.put(first.fenced(), leadership)
        with pytest.raises(ConflictError, match="epoch 1 after 2"):
            await store.put(replace(second, epoch=1), leadership)
        assert store.records[KEY] == second


async def test_an_epoch_has_one_target(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "state.json") as store:
        leadership = await store.claim("sessions")
        fenced = await store.put((await store.put(RECORD, leadership)).fenced(), leadership)
        bound = await store.put(fenced.promoting(B), leadership)
        with pytest.raises(ValueError, match=r"promotes 10\.0\.0\.2:7001"):
            bound.promoting(A)
        with pytest.raises(ConflictError, match="already promotes"):
            await store.put(replace(bound, target=A), leadership)
        settled = await store.put(bound.settled(B, None, "r2"), leadership)
        assert (settled.primary, settled.target) == (B, B)
        assert settled.fenced().target is None


async def test_who_claimed_before_leads_no_more(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "state.json") as store:
        old = await store.claim("sessions")
        new = await store.claim("sessions")
        assert new.revision > old.revision
        with pytest.raises(LeadershipLostError):
            await store.put(RECORD, old)
    with pytest.raises(LeadershipLostError):
        await store.put(RECORD, new)


async def test_news_reach_who_waits(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "state.json") as store:
        seen = store.records.version
        await store.put(RECORD, await store.claim("sessions"))
        assert await store.records.wait_changed(seen) != seen


def test_two_processes_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with LocalStore(path):
        other = subprocess.run(
            [sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, check=False
        )
        assert other.returncode == 1
        assert "in use by another shardproxy" in other.stderr
        with pytest.raises(StateFileError, match="in use"):
            LocalStore(path).__enter__()
    with LocalStore(path):
        pass  # the lock went with its owner


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 4}',
        '{"format": 3, "group": "", "leader": 1, "revision": 1, "shards": []}',
        '{"format": 1, "group": "", "leader": 1, "revision": 1, "shards": [{}]}',
    ],
)
def test_a_damaged_file_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(StateFileError, match="is damaged"):
        LocalStore(path).__enter__()
    assert path.read_text() == text
    path.unlink()
    with LocalStore(path):
        pass


async def test_notes_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with LocalStore(path) as store:
        for cluster in ("pages", "sessions", "sessions"):
            await store.note(paused_key(cluster), True)
        await store.drop(paused_key("pages"))
        stored = await store.put(RECORD, await store.claim("sessions"))
    with LocalStore(path) as store:
        assert list(store.notes) == [paused_key("sessions")]
        assert store.records[KEY] == stored
        await store.note(NoteKey("pages", NoteKind.EPOCH), {"epoch": 3, "digest": "x"})
        assert is_paused(store.notes, "sessions")
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.note(paused_key("sessions"), True)


async def test_a_note_is_replaced_only_as_it_was_read(tmp_path: Path) -> None:
    key = NoteKey("sessions", NoteKind.USERS)
    for kind in (NoteKind.USERS, NoteKind.REQUEST):
        key = NoteKey("sessions", kind, "0")
        with LocalStore(tmp_path / "state.json") as store:
            first = await store.note(key, {"a": 1}, expected=0)
            with pytest.raises(ConflictError):
                await store.note(key, {"a": 2}, expected=0)
            second = await store.note(key, {"a": 2}, expected=first.revision)
            with pytest.raises(ConflictError):
                await store.drop(key, expected=first.revision)
            assert store.notes[key] == second
            await store.drop(key, expected=second.revision)
            await store.drop(key)
            assert key not in store.notes


async def test_notes_have_limits(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "state.json") as store:
        with pytest.raises(ValueError, match="at most"):
            await store.note(NoteKey("a", NoteKind.USERS), "x" * MAX_NOTE)
        half = "x" * (MAX_NOTES // 2 - 10)
        for name in ("1", "2"):
            await store.note(NoteKey("a", NoteKind.SCRIPT, name), half)
        with pytest.raises(ValueError, match="more than"):
            await store.note(NoteKey("a", NoteKind.SCRIPT, "3"), half)
        await store.note(NoteKey("a", NoteKind.SCRIPT, "2"), half + "!")
        await store.note(NoteKey("b", NoteKind.SCRIPT, "3"), half)
        assert len(store.notes) == 3


async def test_requests_go_with_the_process_and_events_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    event = NoteKey("sessions", NoteKind.EVENT, "00000000000000000001-self")
    with LocalStore(path) as store:
        await store.note(NoteKey("sessions", NoteKind.REQUEST, "0"), {})
        await store.note(event, {"message": "look"})
        assert store.statistics.writes == 0
    with LocalStore(path) as store:
        assert {key: note.value for key, note in store.notes.items()} == {event: {"message": "look"}}


async def test_what_versions_before_kept_becomes_notes(tmp_path: Path) -> None:
    path, users = tmp_path / "state.json", tmp_path / "state.json.users"
    old = {
        "format": 2,
        "group": "g",
        "leader": 3,
        "revision": 7,
        "epochs": {"pages": 4},
        "paused": ["sessions"],
        "layouts": {"pages": [1700000000, "d"]},
        "shards": [],
    }
    path.write_text(json.dumps(old))
    users.write_text(json.dumps({"format": 1, "kept": {"sessions": {"bob": {"user": None, "base": {}}}}}))
    expected = {
        NoteKey("pages", NoteKind.EPOCH): {"epoch": 4, "digest": ""},
        NoteKey("pages", NoteKind.LAYOUT): {"version": 1700000000, "digest": "d"},
        paused_key("sessions"): True,
        NoteKey("sessions", NoteKind.USERS): {"bob": {"user": None, "base": {}}},
    }
    for _ in range(2):
        with LocalStore(path) as store:
            assert {key: note.value for key, note in store.notes.items()} == expected
            assert store.group == "g"
        assert not users.exists()
    users.write_text("{")
    with pytest.raises(StateFileError, match="users is damaged"):
        LocalStore(path).__enter__()


async def test_clusters_are_led_one_by_one(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "state.json", "me") as store:
        sessions, pages = await store.claim("sessions"), await store.claim("pages")
        assert dict(store.leaders) == {"sessions": "me", "pages": "me"}
        await store.put(RECORD, sessions)
        with pytest.raises(LeadershipLostError):
            await store.put(RECORD, pages)
        await pages.resign()
        assert dict(store.leaders) == {"sessions": "me"}
        with pytest.raises(LeadershipLostError):
            await store.put(replace(RECORD, key=ShardKey("pages", 0)), pages)
        stored = store.records[KEY]
        assert (await store.put(stored, sessions)).revision > stored.revision


async def test_only_what_is_followed_is_shown(tmp_path: Path) -> None:
    path, foreign = tmp_path / "state.json", replace(RECORD, key=ShardKey("other", 0), revision=9)
    with LocalStore(path) as store:
        await store.put(RECORD, await store.claim("sessions"))
        await store.note(paused_key("sessions"), True)
        store.records.show(foreign.key, foreign)  # of a cluster that something else decides about
        await store.follow(["other"])
        assert dict(store.records) == {foreign.key: foreign}
        assert dict(store.synced) == {"other": True}
        assert not store.notes
        await store.follow(["other", "sessions"])
        assert set(store.records) == {foreign.key, KEY}
        assert is_paused(store.notes, "sessions")


async def test_who_drains_lets_the_next_have_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with LocalStore(path, "old") as store:
        await store.announce(Member("old"))
        await store.announce(Member("old", is_draining=True))
        with LocalStore(path, "new"):
            pass
        assert store.members["old"].is_draining
        await store.leave()
        assert not store.members


async def test_the_next_has_the_file_once_the_write_that_has_begun_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else that write would undo what the next one has written."""
    path, goes_on, has_begun, write = tmp_path / "state.json", threading.Event(), [], file_replace

    def slow(to: Path, data: bytes) -> None:
        has_begun.append(data)
        goes_on.wait(10)
        write(to, data)

    with LocalStore(path, "old") as old:
        stored = await old.put(RECORD, await old.claim("sessions"))
        async with trio.open_nursery() as nursery:
            with monkeypatch.context() as slowly:
                slowly.setattr(local_file, "file_replace", slow)
                nursery.start_soon(old.note, paused_key("sessions"), True)
                with trio.fail_after(5):
                    while not has_begun:  # noqa: ASYNC110  # another thread
                        await trio.sleep(0.001)
            await old.announce(Member("old", is_draining=True))
            with pytest.raises(StateFileError, match="in use"), LocalStore(path, "new"):
                pass
            goes_on.set()
            with pytest.raises(StoreUnavailableError, match="closed"):
                await old.drop(paused_key("sessions"))
        with LocalStore(path, "new") as new:
            assert is_paused(new.notes, "sessions")
            last = await new.put(stored.fenced(), await new.claim("sessions"))
            assert json.loads(path.read_text())["shards"][0]["epoch"] == last.epoch == 2


async def test_a_leadership_ends_with_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with LocalStore(path, "old") as store:
        before = await store.claim("sessions")
        leadership = await store.claim("sessions")
        assert leadership.covers(1)
        assert not before.covers(0)
        await store.announce(Member("old", is_draining=True))
        assert not leadership.covers(0)


async def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    with LocalStore(path) as store:
        leadership = await store.claim("sessions")
        stored = await store.put(RECORD, leadership)
        before = path.read_bytes()

        def no_space(number: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", no_space)
            with pytest.raises(StoreUnavailableError, match="No space left"):
                await store.put(stored.fenced(), leadership)
        assert path.read_bytes() == before
        assert store.records[KEY] == stored
        assert (await store.put(stored.fenced(), leadership)).epoch == 2
    assert json.loads(path.read_text())["shards"][0]["epoch"] == 2


async def test_every_write_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalStore(tmp_path / "state.json") as store:
        leadership = await store.claim("sessions")
        assert (store.statistics.writes, store.statistics.failures) == (1, 0)
        monkeypatch.setattr(os, "fsync", lambda number: os.close(-1))
        with pytest.raises(StoreUnavailableError):
            await store.put(RECORD, leadership)
        assert (store.statistics.writes, store.statistics.failures) == (1, 1)
        assert 0 < store.statistics.last_seconds < store.statistics.seconds


ADDRESSES = st.sampled_from([A, B, Address("::1", 1), Address(path="/run/redis.sock")])
PROMISES = st.builds(Promise, st.frozensets(ADDRESSES), st.integers(0, 5))
RECORDS = st.builds(
    ShardRecord,
    st.builds(ShardKey, st.text(min_size=1), st.integers(0, 249)),
    st.integers(0, 2**40),
    st.sampled_from(ShardState),
    st.none() | ADDRESSES,
    st.lists(ADDRESSES, max_size=6).map(tuple),
    joined=st.lists(ADDRESSES, max_size=6).map(tuple),
    last=st.none() | ADDRESSES,
    target=st.none() | ADDRESSES,
    promise=PROMISES,
    pending=st.lists(PROMISES, max_size=3).map(tuple),
    slots=st.lists(st.builds(SlotRange, st.integers(0, 16383), st.integers(0, 16383)), max_size=3).map(tuple),
    flapping=st.none() | st.builds(Flapping, st.floats(0, 1e3), st.floats(0, 2e9)),
    lineage=st.none() | st.builds(Lineage, st.text(min_size=1), st.text(), st.integers()),
    run_id=st.text(),
    revision=st.integers(1, 2**40),
)


@given(RECORDS)
def test_a_record_is_read_as_it_was_written(record: ShardRecord) -> None:
    values = json.loads(json.dumps(record_encode(record)))
    assert record_decode(values, record.revision) == record


@given(RECORDS, RECORDS)
def test_no_write_takes_an_epoch_back(stored: ShardRecord, record: ShardRecord) -> None:
    record = replace(record, revision=stored.revision)
    try:
        result = record_replace(stored, record, stored.revision + 1)
    except ConflictError:
        return
    assert result.epoch >= stored.epoch


async def test_a_file_of_the_format_before_is_read(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    old = {**record_encode(RECORD), "wait": 1, "joined": ["10.0.0.1:7001", "10.0.0.2:7001"]}
    for later in ("name", "slots", "promise", "pending", "replaced", "floor", "flapping", "changed"):
        del old[later]
    shards = [{"revision": 7, **old}]
    path.write_text(
        json.dumps({"format": 1, "group": "g", "leader": 3, "revision": 7, "epochs": {}, "shards": shards})
    )
    with LocalStore(path) as store:
        assert store.records[KEY].promise == Promise(frozenset({B}), 1)  # whoever was a member vouched
        assert store.records[KEY].slots == ()
        assert store.records[KEY].changed == 7


async def test_a_record_says_when_what_proxies_act_on_changed(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "state.json") as store:
        leadership = await store.claim("sessions")
        first = await store.put(RECORD, leadership)
        assert first.changed == first.revision
        noted = await store.put(replace(first, floor=99), leadership)
        assert (noted.changed, noted.revision) == (first.changed, first.revision + 1)
        moved = await store.put(replace(noted, promise=Promise(frozenset(), 1)), leadership)
        assert moved.changed == moved.revision


async def test_changes_that_wait_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = 0
    real = os.fsync

    def counted(number: int) -> None:
        nonlocal writes
        writes += 1
        real(number)

    with LocalStore(tmp_path / "state.json") as store:
        leadership = await store.claim("sessions")
        monkeypatch.setattr(os, "fsync", counted)
        async with trio.open_nursery() as nursery:
            for index in range(50):
                record = replace(RECORD, key=ShardKey("sessions", index))
                nursery.start_soon(store.put, record, leadership)
        assert len(store.records) == 50
        assert len({record.revision for record in store.records.values()}) == 50
    assert writes <= 2 * 3  # a file and its directory each: the first one, and those that waited for it
    with LocalStore(tmp_path / "state.json") as again:
        assert len(again.records) == 50


async def test_one_that_may_not_be_made_keeps_no_other_from_it(tmp_path: Path) -> None:
    outcomes: dict[str, object] = {}

    async def put(name: str, record: ShardRecord, leadership: Leadership) -> None:
        try:
            outcomes[name] = await store.put(record, leadership)
        except ConflictError as error:
            outcomes[name] = error

    with LocalStore(tmp_path / "state.json") as store:
        leadership = await store.claim("sessions")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(put, "one", RECORD, leadership)
            nursery.start_soon(put, "same", RECORD, leadership)
            nursery.start_soon(put, "other", replace(RECORD, key=ShardKey("sessions", 1)), leadership)
    assert sorted(isinstance(outcome, ConflictError) for outcome in outcomes.values()) == [False, False, True]
    assert isinstance(outcomes["other"], ShardRecord)


async def test_a_disk_that_hangs_is_given_up_and_used_again_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = threading.Event()
    monkeypatch.setattr(local_file, "MAX_WRITE", 0.05)
    with LocalStore(tmp_path / "state.json") as store:
        leadership = await store.claim("sessions")
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", lambda number: hangs.wait(10) and None)
            with pytest.raises(StoreUnavailableError, match="not written within"):
                await store.put(RECORD, leadership)
        with pytest.raises(StoreUnavailableError, match="an earlier write hangs"):
            await store.put(RECORD, leadership)
        hangs.set()
        with trio.fail_after(5):
            while True:
                try:
                    stored = await store.put(RECORD, leadership)
                    break
                except StoreUnavailableError:
                    await trio.sleep(0.01)
        assert store.records[KEY] == stored
