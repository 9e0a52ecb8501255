"""Silence that one proxy sees counts when most of those that serve the cluster see it too."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.coordination.votes import STANDS, VotesOfMembers, objection, run_votes, vote_wanted
from shardproxy.failover.setup import ShardSetup
from shardproxy.model.board import Board
from shardproxy.model.health import Cause, NodeHealth, NodeKey, NodeState, Verdict, shard_of
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import MemberKey
from shardproxy.store.member import Member, Vote
from tests.unit.coordination.make import MemberStore, no_acks
from tests.unit.topology.make import KEY, A, B, record

SERVING = {KEY.cluster: ()}
DOWN, SUSPECT = Vote(str(A), is_down=True, why="silent"), Vote(str(A), is_down=False, why="silent")
OTHERS = Vote(str(B), is_down=True, why="silent")


def alive(*names: str) -> dict[str, Member]:
    return {name: Member(name, endpoints=SERVING) for name in names}


def said(**votes: Vote) -> Mapping[MemberKey, Vote]:
    return {(name, KEY): vote for name, vote in votes.items()}


@pytest.mark.parametrize(
    ("members", "votes", "reaching"),
    [
        pytest.param(alive("us"), {}, None, id="alone"),
        pytest.param({}, {}, None, id="not announced yet"),
        pytest.param(alive("us", "p2"), {}, "1 of 2", id="the other of two reaches it"),
        pytest.param(alive("us", "p2"), said(p2=SUSPECT), None, id="the other of two does not"),
        pytest.param(alive("us", "p2", "p3"), {}, "2 of 3", id="two of three reach it"),
        pytest.param(alive("us", "p2", "p3"), said(p3=DOWN), None, id="one of three reaches it"),
        pytest.param(alive("us", "p2", "p3", "p4"), said(p3=DOWN), "2 of 4", id="half is no majority"),
        pytest.param(alive("us", "p2", "p3"), said(p3=OTHERS), "2 of 3", id="it speaks of another primary"),
        pytest.param(alive("us", "p2", "p3"), said(p9=DOWN), "2 of 3", id="who is gone has no vote"),
        pytest.param(
            {**alive("us"), "p2": Member("p2", endpoints={"pages": ()})}, {}, None, id="it serves others"
        ),
        pytest.param(
            {**alive("us"), "p2": Member("p2", endpoints=SERVING, is_draining=True)}, {}, None, id="it drains"
        ),
    ],
)
def test_most_of_those_that_serve_the_cluster_have_to_agree(
    members: Mapping[str, Member], votes: Mapping[MemberKey, Vote], reaching: str | None
) -> None:
    wanted = None if reaching is None else f"{reaching} proxies still reach {A}"
    assert objection(KEY, A, "us", members, votes) == wanted


@given(st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from([DOWN, SUSPECT, OTHERS, None])))
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
    assert (now is None) == (agreeing > len(members) / 2)


def health(state: NodeState, *, since: float = 0.0, cause: Cause | None = None, epoch: int = 3) -> NodeHealth:
    return NodeHealth(Verdict(state, "because", since, cause), epoch=epoch)


@pytest.mark.parametrize(
    ("found", "is_down"),
    [
        (None, None),
        (health(NodeState.UP), None),
        (health(NodeState.BUSY), None),
        (health(NodeState.LOADING), None),
        (health(NodeState.UNWRITABLE), None),
        (health(NodeState.DENIED), None),
        (health(NodeState.UNKNOWN), False),
        (health(NodeState.SUSPECT), False),
        (health(NodeState.CUT_OFF), False),
        (health(NodeState.BUSY, cause=Cause.SILENT), False),
        (health(NodeState.DOWN, cause=Cause.SILENT), True),
        (health(NodeState.DOWN, cause=Cause.RESTARTED), True),
        (health(NodeState.DOWN, epoch=2), None),
    ],
)
def test_who_finds_nothing_wrong_says_nothing(found: NodeHealth | None, is_down: bool | None) -> None:
    vote, _ = vote_wanted(record(), found, 10.0)
    assert (None if vote is None else vote.is_down) == is_down
    assert vote is None or vote.primary == str(A)


def test_a_suspicion_is_said_once_it_stands() -> None:
    assert vote_wanted(record(), health(NodeState.SUSPECT, since=9.9), 10.0) == (None, 9.9 + STANDS)
    assert vote_wanted(record(), health(NodeState.DOWN, since=10.0, cause=Cause.SILENT), 10.0)[0] is not None


class Voting:
    """A process that says what it finds."""

    def __init__(self) -> None:
        self.store = MemberStore(no_acks())
        self.setups: Board[ShardKey, ShardSetup] = Board()
        self.health: Board[NodeKey, NodeHealth] = Board(topic_of=shard_of)
        self.setups.show(KEY, ShardSetup(KEY, ()))
        self.store.records.show(KEY, record())

    def said(self) -> Vote | None:
        return self.store.votes.get(("self", KEY))

    def find(self, state: NodeState, cause: Cause | None = None, why: str = "because") -> None:
        verdict = Verdict(state, why, trio.current_time(), cause)
        self.health.show((KEY, A), NodeHealth(verdict, epoch=3))

    async def run(self) -> None:
        await run_votes(self.setups, self.health, self.store)


async def test_the_store_hears_of_changes_only_and_again_what_it_forgot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    voting = Voting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(voting.run)
        voting.find(NodeState.UP)
        await trio.sleep(1)
        assert voting.store.tries == 0
        for _ in range(5):  # it flaps
            voting.find(NodeState.SUSPECT)
            await trio.sleep(STANDS / 2)
            voting.find(NodeState.UP)
            await trio.sleep(0.1)
        assert voting.store.tries == 0
        voting.find(NodeState.SUSPECT)
        await trio.sleep(2 * STANDS)
        assert voting.said() == Vote(str(A), is_down=False, why="because")
        voting.find(NodeState.DOWN, Cause.SILENT)
        await trio.sleep(0.01)
        assert voting.said() == Vote(str(A), is_down=True, why="because")
        voting.find(NodeState.DOWN, Cause.SILENT, "for another reason")
        await trio.sleep(1)
        assert voting.store.tries == 2
        voting.store.votes.hide(("self", KEY))  # its lease had ended
        await trio.sleep(0.01)
        assert voting.said() is not None
        voting.store.is_down = True
        voting.find(NodeState.UP)
        await trio.sleep(1)
        assert voting.said() is not None
        voting.store.is_down = False
        await trio.sleep(1)
        assert voting.said() is None
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
    assert VotesOfMembers(store).objection(KEY, A) == f"2 of 3 proxies still reach {A}"
    store.votes.show(("p2", KEY), SUSPECT)
    assert VotesOfMembers(store).objection(KEY, A) is None
