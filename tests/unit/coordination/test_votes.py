"""Silence that one proxy sees counts when most of those that serve the cluster see it too."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.coordination.votes import STANDS, VotesOfMembers, objection, run_votes, vote_wanted
from shardproxy.failover.interfaces import Objection
from shardproxy.failover.setup import ShardSetup
from shardproxy.health.monitor import Boards
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.health import Cause, NodeHealth, NodeState, Verdict
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import MemberKey
from shardproxy.store.member import Finding, Member, Vote
from tests.unit.coordination.make import MemberStore, no_acks
from tests.unit.topology.make import KEY, A, B, record

SERVING = {KEY.cluster: ()}


def vote(finding: Finding, primary: Address = A) -> Vote:
    return Vote(str(primary), finding, "because")


DOWN, SUSPECT, REACHES = vote(Finding.DOWN), vote(Finding.SUSPECT), vote(Finding.REACHES)
EXPLAINED, DENIED = vote(Finding.EXPLAINED), vote(Finding.DENIED)
OTHERS = vote(Finding.REACHES, B)


def alive(*names: str) -> dict[str, Member]:
    return {name: Member(name, endpoints=SERVING) for name in names}


def said(**votes: Vote) -> Mapping[MemberKey, Vote]:
    return {(name, KEY): vote for name, vote in votes.items()}


@pytest.mark.parametrize(
    ("members", "votes", "reaching"),
    [
        pytest.param(alive("us"), {}, None, id="alone"),
        pytest.param({}, {}, None, id="not announced yet"),
        pytest.param(alive("us", "p2"), said(p2=REACHES), "1 of 2", id="the other of two reaches it"),
        pytest.param(alive("us", "p2"), said(p2=SUSPECT), None, id="the other of two does not"),
        pytest.param(alive("us", "p2"), {}, None, id="the other of two cannot say"),
        pytest.param(alive("us", "p2"), said(p2=DENIED), "1 of 2", id="the other of two is refused by it"),
        pytest.param(alive("us", "p2", "p3"), said(p2=REACHES, p3=REACHES), "2 of 3", id="two of three do"),
        pytest.param(alive("us", "p2", "p3"), said(p2=REACHES), "1 of 2", id="one of three cannot say"),
        pytest.param(alive("us", "p2", "p3"), said(p2=REACHES, p3=DOWN), None, id="one of three reaches it"),
        pytest.param(
            alive("us", "p2", "p3", "p4"),
            said(p2=REACHES, p3=DOWN, p4=REACHES),
            "2 of 4",
            id="half is no majority",
        ),
        pytest.param(alive("us", "p2"), said(p2=OTHERS), None, id="it speaks of another primary"),
        pytest.param(alive("us", "p2"), said(p2=DOWN, p9=REACHES), None, id="who is gone has no vote"),
        pytest.param(
            {**alive("us"), "p2": Member("p2", endpoints=SERVING, is_draining=True)},
            said(p2=REACHES),
            None,
            id="it drains",
        ),
    ],
)
def test_most_of_those_that_watch_the_primary_have_to_agree(
    members: Mapping[str, Member], votes: Mapping[MemberKey, Vote], reaching: str | None
) -> None:
    wanted = None if reaching is None else f"{reaching} proxies still reach {A}"
    found = objection(KEY, A, "us", members, votes)
    assert (None if found is None else found.why) == wanted


def test_any_one_who_knows_why_it_is_silent_objects_and_nobody_leads_better_for_that() -> None:
    votes = said(p2=EXPLAINED, p3=DOWN, p4=SUSPECT)
    assert objection(KEY, A, "us", alive("us", "p2", "p3", "p4"), votes) == Objection(
        "p2 knows why: because", is_outvoted=False
    )


@pytest.mark.parametrize(
    ("votes", "is_outvoted"),
    [
        (said(p2=REACHES, p3=DOWN, p4=REACHES), True),
        (said(p2=DENIED, p3=DENIED, p4=DENIED), False),
        (said(p2=DENIED, p3=DENIED, p4=REACHES), False),
    ],
)
def test_who_is_refused_would_lead_no_better(votes: Mapping[MemberKey, Vote], is_outvoted: bool) -> None:
    found = objection(KEY, A, "us", alive("us", "p2", "p3", "p4"), votes)
    assert found is not None
    assert found.is_outvoted == is_outvoted


@given(st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from([DOWN, SUSPECT, OTHERS, REACHES, None])))
def test_another_who_agrees_never_brings_an_objection_and_two_parts_cannot_both_act(
    views: dict[str, Vote | None],
) -> None:
    members = alive("us", *views)
    votes = {(name, KEY): vote for name, vote in views.items() if vote is not None}
    now = objection(KEY, A, "us", members, votes)
    for name in views:
        more = objection(KEY, A, "us", members, {**votes, (name, KEY): DOWN})
        assert now is not None or more is None
    agreeing = 1 + sum(vote in (DOWN, SUSPECT) for vote in views.values())
    assert (now is None) == (agreeing > sum(vote is REACHES for vote in views.values()))


def health(state: NodeState, *, since: float = 0.0, cause: Cause | None = None, epoch: int = 3) -> NodeHealth:
    return NodeHealth(Verdict(state, "because", since, cause), epoch=epoch)


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        (None, None),
        (health(NodeState.UP), Finding.REACHES),
        (health(NodeState.BUSY), Finding.REACHES),
        (health(NodeState.LOADING), Finding.REACHES),
        (health(NodeState.UNWRITABLE), Finding.REACHES),
        (health(NodeState.DENIED), Finding.DENIED),
        (health(NodeState.UNKNOWN), None),
        (health(NodeState.SUSPECT), Finding.SUSPECT),
        (health(NodeState.CUT_OFF), Finding.SUSPECT),
        (health(NodeState.BUSY, cause=Cause.SILENT), Finding.EXPLAINED),
        (health(NodeState.DOWN, cause=Cause.SILENT), Finding.DOWN),
        (health(NodeState.DOWN, cause=Cause.RESTARTED), Finding.DOWN),
        (health(NodeState.DOWN, epoch=2), None),
    ],
)
def test_what_a_verdict_means_to_others(found: NodeHealth | None, finding: Finding | None) -> None:
    vote, _ = vote_wanted(record(), found, None, 10.0)
    assert (None if vote is None else vote.finding) is finding
    assert vote is None or vote.primary == str(A)


def test_a_suspicion_is_said_once_it_stands() -> None:
    suspect = health(NodeState.SUSPECT, since=9.9)
    assert vote_wanted(record(), suspect, REACHES, 10.0) == (REACHES, 9.9 + STANDS)
    assert vote_wanted(record(), suspect, OTHERS, 10.0) == (None, 9.9 + STANDS)
    down, _ = vote_wanted(record(), health(NodeState.DOWN, since=10.0, cause=Cause.SILENT), REACHES, 10.0)
    assert down is not None
    assert down.finding is Finding.DOWN


class Voting:
    """A process that says what it finds."""

    def __init__(self) -> None:
        self.store = MemberStore(no_acks())
        self.setups: Board[ShardKey, ShardSetup] = Board()
        self.boards = Boards()
        self.boards.watched.show(KEY, True)
        self.setups.show(KEY, ShardSetup(KEY, ()))
        self.store.records.show(KEY, record())

    def said(self) -> Vote | None:
        return self.store.votes.get(("self", KEY))

    def find(self, state: NodeState, cause: Cause | None = None, why: str = "because") -> None:
        verdict = Verdict(state, why, trio.current_time(), cause)
        self.boards.health.show((KEY, A), NodeHealth(verdict, epoch=3))

    async def run(self) -> None:
        await run_votes(self.setups, self.boards, self.store)


async def test_the_store_hears_of_changes_only_and_again_what_it_forgot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    voting = Voting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(voting.run)
        voting.find(NodeState.UP)
        await trio.sleep(1)
        assert voting.said() == Vote(str(A), Finding.REACHES)
        assert voting.store.tries == 1
        for _ in range(5):  # it flaps
            voting.find(NodeState.SUSPECT)
            await trio.sleep(STANDS / 2)
            voting.find(NodeState.UP)
            await trio.sleep(0.1)
        assert voting.store.tries == 1
        voting.find(NodeState.SUSPECT)
        await trio.sleep(2 * STANDS)
        assert voting.said() == SUSPECT
        voting.find(NodeState.DOWN, Cause.SILENT)
        await trio.sleep(0.01)
        assert voting.said() == DOWN
        voting.find(NodeState.DOWN, Cause.SILENT, "for another reason")
        await trio.sleep(1)
        assert voting.store.tries == 3
        voting.store.votes.hide(("self", KEY))  # its lease had ended
        await trio.sleep(0.01)
        assert voting.said() is not None
        voting.store.is_down = True
        voting.find(NodeState.UP)
        await trio.sleep(1)
        assert voting.said() != Vote(str(A), Finding.REACHES)
        voting.store.is_down = False
        await trio.sleep(1)
        assert voting.said() == Vote(str(A), Finding.REACHES)
        nursery.cancel_scope.cancel()


async def test_what_nobody_watches_any_more_is_not_said_to_be_reached(
    autojump_clock: trio.testing.MockClock,
) -> None:
    voting = Voting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(voting.run)
        voting.find(NodeState.UP)
        await trio.sleep(1)
        assert voting.said() == Vote(str(A), Finding.REACHES)
        voting.boards.watched.hide(KEY)
        await trio.sleep(1)
        assert voting.said() is None
        nursery.cancel_scope.cancel()


async def test_votes_on_many_shards_are_said_at_once(autojump_clock: trio.testing.MockClock) -> None:
    voting = Voting()
    for index in range(50):
        key = ShardKey(KEY.cluster, index)
        voting.setups.show(key, ShardSetup(key, ()))
        voting.store.records.show(key, record(key=key))
        voting.boards.watched.show(key, True)
        verdict = Verdict(NodeState.UP, "", trio.current_time())
        voting.boards.health.show((key, A), NodeHealth(verdict, epoch=3))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(voting.run)
        await trio.sleep(1)
        assert len(voting.store.votes) == 50
        assert voting.store.tries == 1
        nursery.cancel_scope.cancel()


async def test_a_shard_that_is_not_decided_here_has_no_vote(autojump_clock: trio.testing.MockClock) -> None:
    voting = Voting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(voting.run)
        voting.find(NodeState.DOWN, Cause.SILENT)
        await trio.sleep(1)
        assert voting.said() is not None
        voting.setups.hide(KEY)
        await trio.sleep(1)
        assert voting.said() is None
        nursery.cancel_scope.cancel()


def test_a_leader_sees_what_the_store_shows() -> None:
    store = MemberStore(no_acks())
    for name in ("self", "p2", "p3"):
        store.members.show(name, Member(name, endpoints=SERVING))
        store.votes.show((name, KEY), REACHES)
    assert VotesOfMembers(store).objection(KEY, A) == Objection(f"2 of 3 proxies still reach {A}", True)
    store.votes.show(("p2", KEY), SUSPECT)
    assert VotesOfMembers(store).objection(KEY, A) is None


@pytest.mark.parametrize(
    ("votes", "wanted"),
    [
        (said(p2=DOWN, p3=DOWN), "2 of 3"),
        (said(p2=DOWN, p3=SUSPECT), None),
        (said(p2=DOWN), None),
        ({}, None),
    ],
)
def test_a_primary_that_one_reaches_is_down_for_most(
    votes: Mapping[MemberKey, Vote], wanted: str | None
) -> None:
    store = MemberStore(no_acks())
    for name in ("self", "p2", "p3"):
        store.members.show(name, Member(name, endpoints=SERVING))
    for key, vote in votes.items():
        store.votes.show(key, vote)
    found = VotesOfMembers(store).why_down(KEY, A)
    assert found == (None if wanted is None else f"{wanted} proxies find {A} down")
