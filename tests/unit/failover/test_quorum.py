"""I4 by search: whatever happens, whoever is enough for an election has every acknowledged write."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shardproxy.failover import quorum
from shardproxy.failover.election import Candidate, choose, why_too_few
from shardproxy.model import Address
from shardproxy.store.record import Promise, ShardRecord, ShardState
from tests.unit.failover.make import A, B, C, X, frozen, record

D = Address("10.0.0.4", 7001)
BC, BCD, CD = frozenset({B, C}), frozenset({B, C, D}), frozenset({C, D})


@pytest.mark.parametrize(
    ("voters", "wait", "needed"),
    [(BCD, 1, 3), (BCD, 2, 2), (BCD, 3, 1), (BC, 1, 2), (BC, 3, 0), (BC, 0, 1), (frozenset(), 0, 0)],
)
def test_how_many_must_vouch(voters: frozenset[Address], wait: int, needed: int) -> None:
    assert Promise(voters, wait).needed == needed


ENOUGH: list[tuple[str, list[Promise], set[Address], str | None]] = [
    ("all of them", [Promise(BC, 1)], {B, C}, None),
    ("one is missing", [Promise(BC, 1)], {B}, "1 of 2 nodes that vouch answer and are sound, 2 must"),
    ("one has them all", [Promise(BC, 2)], {B}, None),
    ("nobody was asked", [Promise(BC, 0)], set(), None),
    ("nothing can have been acknowledged", [Promise(BC, 3)], set(), None),
    ("who does not vouch does not count", [Promise(BC, 1)], {B, D}, str(C)),
    ("an older promise counts", [Promise(BC, 2), Promise(BC, 1)], {B}, "wait: 1"),
    ("a node that was removed is asked", [Promise(frozenset({B}), 1), Promise(BC, 1)], {B}, str(C)),
]


@pytest.mark.parametrize(("name", "promises", "sound", "why"), ENOUGH, ids=[case[0] for case in ENOUGH])
def test_who_is_enough(name: str, promises: list[Promise], sound: set[Address], why: str | None) -> None:
    shard = replace(record(), promise=promises[0], pending=tuple(promises[1:]))
    reason = quorum.why_not_enough(shard, frozenset(sound))
    assert reason is None if why is None else why in (reason or "")


FIRST = replace(record(nodes=(A, B, C, D), joined=(A, B, C, D), voters=(B, C)), promise=Promise(BC, 1))


def test_a_change_counts_beside_what_was_promised_before() -> None:
    raised = quorum.begun(FIRST, Promise(BC, 2))
    assert (raised.promise, raised.pending) == (Promise(BC, 2), (Promise(BC, 1),))
    assert quorum.begun(raised, Promise(BC, 2)) == raised
    back = quorum.begun(raised, Promise(BC, 1))
    assert (back.promise, back.pending) == (Promise(BC, 1), (Promise(BC, 2),))  # none twice


def test_what_nobody_could_be_promised_is_not_kept() -> None:
    for promise in (Promise(BC, 0), Promise(BC, 3), Promise(frozenset(), 1)):
        assert quorum.begun(replace(FIRST, promise=promise), Promise(CD, 1)).pending == ()


def test_a_change_is_finished_by_all_who_vouch_then() -> None:
    changed = quorum.begun(FIRST, Promise(CD, 1))
    with pytest.raises(quorum.QuorumError, match=r"10\.0\.0\.4:7001 must catch up"):
        quorum.finished(changed, frozenset({B, C}))
    assert quorum.finished(changed, CD).pending == ()
    with pytest.raises(quorum.QuorumError, match="nobody vouches"):
        quorum.finished(quorum.begun(FIRST, Promise(frozenset(), 1)), BCD)


@pytest.mark.parametrize("promise", [Promise(frozenset({A, B}), 1), Promise(frozenset({Address("x", 1)}), 1)])
def test_neither_the_primary_nor_a_stranger_vouches(promise: Promise) -> None:
    with pytest.raises(quorum.QuorumError, match=r"itself|no node of the shard"):
        quorum.begun(FIRST, promise)


def test_a_node_stays_a_member_as_long_as_it_may_alone_have_a_write() -> None:
    changed = quorum.begun_among(FIRST, (A, D), Promise(frozenset({D}), 1))
    assert changed.nodes == (A, D, B, C)
    assert quorum.members(changed) == BC
    assert quorum.members(quorum.finished(changed, frozenset({D}))) == frozenset()


def test_who_vouched_for_the_last_primary_vouches_for_the_next() -> None:
    lost = FIRST.fenced().promoting(B)
    assert quorum.promoted(lost, B).promise == Promise(frozenset({C}), 1)  # the one that was lost does not
    assert quorum.promoted(lost, B).pending == (Promise(BC, 1),)
    handed_over = replace(FIRST.fenced(ShardState.SWITCHING), target=B)
    assert quorum.promoted(handed_over, B).promise == Promise(frozenset({A, C}), 1)


def test_a_promotion_is_recorded_however_many_changes_are_under_way() -> None:
    many = tuple(Promise(BC, wait) for wait in range(1, quorum.MAX_PENDING + 1))
    full = replace(FIRST.fenced().promoting(B), promise=Promise(BCD, 1), pending=many)
    assert quorum.is_full(full)
    assert len(quorum.promoted(full, B).pending) == quorum.MAX_PENDING + 1


NODES = (A, B, C, D)
PROXIES = st.sampled_from(["one", "two"])
WAITS = st.sampled_from([1, 1, 1, 2, 2, 3, 0])
MEMBERS = st.sampled_from(NODES)


class Quorum(RuleBasedStateMachine):
    """Nodes are sets of writes, one a prefix of the other unless a promotion forgot some.

    A proxy acknowledges by the promise of the record it last served; to a fenced shard, nothing. Catching
    up is measured by what the primary had when all proxies had come to serve a record.
    """

    def __init__(self) -> None:
        super().__init__()
        self.record: ShardRecord = replace(
            record(nodes=NODES, joined=NODES, wait=1), processes=tuple((node, "r") for node in NODES)
        )
        self.has: dict[Address, set[int]] = {node: set() for node in NODES}
        self.on_disk: dict[Address, set[int]] = {node: set() for node in NODES}
        self.run_ids = dict.fromkeys(NODES, "r")
        self.serves: dict[str, ShardRecord] = dict.fromkeys(("one", "two"), self.record)
        self.then: set[int] | None = set()  # what the primary had when all had come to serve the record
        self.acknowledged: set[int] = set()
        self.writes = 0
        self.restarts = 0

    @initialize(wait=WAITS)
    def start(self, wait: int) -> None:
        self.change(replace(self.record, promise=Promise(self.record.promise.voters, wait)))
        self.serves = dict.fromkeys(self.serves, self.record)
        self.then = set()

    def change(self, changed: ShardRecord) -> None:
        if changed.served != self.record.served:
            self.then = None
        self.record = replace(changed, revision=self.record.revision + 1)

    @property
    def primary(self) -> Address:
        assert self.record.primary is not None
        return self.record.primary

    @rule(node=MEMBERS)
    def catch_up(self, node: Address) -> None:
        self.has[node] = set(self.has[self.primary])

    @rule(node=MEMBERS)
    def save(self, node: Address) -> None:
        self.on_disk[node] = set(self.has[node])

    @rule()
    def serve_everywhere(self) -> None:
        for proxy in self.serves:
            self.serve(proxy)

    @rule(proxy=PROXIES)
    def serve(self, proxy: str) -> None:
        self.serves[proxy] = self.record
        served = {seen.served for seen in self.serves.values()}
        if served == {self.record.served} and self.then is None:
            self.then = set(self.has[self.primary])

    @rule(proxy=PROXIES, data=st.data())
    def write(self, proxy: str, data: st.DataObject) -> None:
        """Those who got it may have got none of what came before only if they were never in sync."""
        seen = self.serves[proxy]
        if seen.primary != self.primary or seen.epoch != self.record.epoch:
            return
        self.writes += 1
        self.has[self.primary].add(self.writes)
        everybody = sorted(set(NODES) - {self.primary})
        getting = set(data.draw(st.lists(st.sampled_from(everybody), unique=True, max_size=2)))
        for node in getting:
            self.has[node] = set(self.has[self.primary])
        if len(getting & seen.promise.voters) >= seen.promise.wait > 0:
            self.acknowledged.add(self.writes)

    @rule(node=MEMBERS)
    def begin_with_or_without(self, node: Address) -> None:
        self._begin(Promise(self.record.promise.voters ^ {node}, self.record.promise.wait))

    @rule(voters=st.frozensets(MEMBERS), wait=WAITS)
    def begin(self, voters: frozenset[Address], wait: int) -> None:
        self._begin(Promise(voters, wait))

    def _begin(self, promise: Promise) -> None:
        if not quorum.is_full(self.record):
            self.change(quorum.begun(self.record, replace(promise, voters=promise.voters - {self.primary})))

    @precondition(lambda self: self.record.pending and self.then is not None)
    @rule()
    def finish(self) -> None:
        caught_up = frozenset(node for node in NODES if self.has[node] >= (self.then or set()))
        if quorum.why_not_finished(self.record, caught_up) is None:
            self.change(quorum.finished(self.record, caught_up))

    @rule(node=MEMBERS)
    def restart(self, node: Address) -> None:
        """A replica comes back with what its disk kept, as another process."""
        if node != self.primary:
            self.restarts += 1
            self.run_ids[node] = f"r{self.restarts}"
            self.has[node] = set(self.on_disk[node])

    @rule(node=MEMBERS)
    def join(self, node: Address) -> None:
        if node != self.primary and self.has[node] == self.has[self.primary]:
            self.change(self.record.with_process(node, self.run_ids[node]))

    @rule(answering=st.sets(MEMBERS))
    def fail_over(self, answering: set[Address]) -> None:
        """The primary is lost, and comes back empty-handed: as whoever is promoted has it."""
        lost = self.primary
        fenced = self.record.fenced()
        self.serves = dict.fromkeys(self.serves, fenced)
        answering -= {lost}
        best = self.whose_data_counts(answering, fenced)
        if best is None:
            self.record = replace(fenced, state=ShardState.OK, primary=lost, last=None)
            return
        promoted = quorum.promoted(fenced.promoting(best), best).settled(best, X, self.run_ids[best])
        self.change(promoted)
        for node in NODES:  # what it lacks was never acknowledged
            self.has[node] &= self.has[best]
            self.on_disk[node] &= self.has[best]

    def whose_data_counts(self, sound: set[Address], shard: ShardRecord) -> Address | None:
        """Who is promoted when these answer, or whom that one syncs from first."""
        candidates = [
            Candidate(node, frozen(X, 2 + len(self.has[node])), self.run_ids[node]) for node in sorted(sound)
        ]
        if why_too_few(shard, candidates) is not None:
            return None
        choice = choose(candidates, shard)
        found = choice.source or choice.best
        return found.address if found is not None else None

    @invariant()
    def whoever_is_promoted_has_every_acknowledged_write(self) -> None:
        replicas = [node for node in NODES if node != self.record.primary]
        for chosen in range(1 << len(replicas)):
            sound = {node for place, node in enumerate(replicas) if chosen >> place & 1}
            if (best := self.whose_data_counts(sound, self.record)) is not None:
                assert self.acknowledged <= self.has[best], (self.record, sound, self.has)

    @invariant()
    def a_record_is_sound(self) -> None:
        quorum.checked(self.record)


TestQuorum = Quorum.TestCase
TestQuorum.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)


@given(st.frozensets(MEMBERS), st.integers(0, 4))
def test_any_wait_voters_and_any_needed_ones_have_one_in_common(
    voters: frozenset[Address], wait: int
) -> None:
    promise = Promise(voters, wait)
    if not quorum.is_empty(promise):
        assert promise.needed + promise.wait > len(voters)
        assert promise.needed >= 1
