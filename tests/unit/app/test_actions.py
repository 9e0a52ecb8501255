"""What an operator asks for: which shard is meant, and what is answered."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from shardproxy.admin.actions import Actions, RequestError
from shardproxy.admin.failover import events_document, status_document
from shardproxy.admin.health import why_not_ready
from shardproxy.admin.naming import shard_called, why_no_shard
from shardproxy.admin.sharing import clusters_unknown
from shardproxy.admin.status import Sharing, Sources, StatusBoard
from shardproxy.config import parse_config
from shardproxy.dataplane.statistics import Statistics
from shardproxy.failover.controls import Controls
from shardproxy.failover.events import EventName
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, EndpointKind, Node
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.member import Advertised, Member
from shardproxy.store.memory import MemoryDesk
from shardproxy.store.notes import Note, NoteKey
from shardproxy.store.record import ShardRecord, ShardState

TEXT = """
clusters:
  main: {engine: redis, endpoints: {primary: 127.0.0.1:7000}, shards: [{nodes: ["a:1"]}]}
"""
NAMES = {7: None, 0: "users", 2: "1.5"}  # by number
SETUPS = [
    ShardSetup(ShardKey("main", number), (Node(Address("a", number + 1)),), name=name)
    for number, name in NAMES.items()
]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0, 0),
        ("0", 0),
        ("users", 0),
        (7, 7),
        ("7", 7),
        ("1.5", 2),
        (2, 2),
        (1, None),
        ("1", None),
        ("Users", None),
        ("", None),
        (None, None),
        (True, None),
        (1.5, None),
        (["7"], None),
        ("9" * 5000, None),
    ],
)
def test_a_shard_is_called_by_name_or_number(given: object, expected: int | None) -> None:
    found = shard_called(given, SETUPS)
    assert (found.index if found else None) == expected


def test_an_unknown_shard_is_answered_by_those_there_are() -> None:
    assert (
        why_no_shard("main", "user", SETUPS)
        == "cluster main has no shard user; it has: users (0), 1.5 (2), 7"
    )


class Asked(Controls):
    """Remembers which shards were meant, and does nothing."""

    def __init__(self) -> None:
        super().__init__(MemoryDesk())
        self.shards: list[int] = []

    async def switch_over(
        self, key: ShardKey, to: Address | None = None, *, is_test: bool = False
    ) -> str | None:
        self.shards.append(key.index)
        return "not within 30 s: no proxy leads"

    async def promote(self, key: ShardKey, to: Address) -> str | None:
        self.shards.append(key.index)
        return None

    async def acknowledge(self, key: ShardKey) -> None:
        self.shards.append(key.index)


async def _no_clients() -> tuple[dict[str, Any], ...]:
    return ()


def sources() -> Sources:
    setups = {setup.key: setup for setup in SETUPS}
    statistics = partial(Statistics.read, {})
    return Sources(StatusBoard(), statistics, _no_clients, {}, setups, controls=Asked())


def actions_of(made: Sources) -> Actions:
    return Actions(made.controls, made.events, made.setups, made.deciders)


def unknown(made: Sources) -> frozenset[str]:
    return clusters_unknown(made.sharing, made.setups, made.records)


async def test_every_action_takes_a_name_or_a_number() -> None:
    made = sources()
    actions = actions_of(made)
    for shard in ("users", 0, "0"):
        asked = {"cluster": "main", "shard": shard, "to": "a:1"}
        assert await actions.switchover(asked) == "not within 30 s: no proxy leads"
        assert await actions.failover_test(asked) == "not within 30 s: no proxy leads"
        assert await actions.promote(asked) is None
        assert await actions.acknowledge(asked) is None
    assert isinstance(made.controls, Asked)
    assert made.controls.shards == [0] * 12
    with pytest.raises(RequestError, match=r"no shard 1; it has: users \(0\), 1.5 \(2\), 7"):
        await actions.switchover({"cluster": "main", "shard": 1})


async def test_status_and_events_have_number_and_name() -> None:
    made = sources()
    for setup in SETUPS:
        made.events.add(EventName.ALARM, setup.key, "look")
    events = events_document(tuple(made.events.latest()), made.setups)["events"]
    assert {event["shard"]: event["shard_name"] for event in events} == NAMES
    shards = status_document(made, 0.0)["clusters"]["main"]["shards"]
    assert [(shard["shard"], shard["name"]) for shard in shards] == sorted(NAMES.items())


async def test_what_the_store_does_not_take_was_not_done() -> None:
    class Down(MemoryDesk):
        async def note(self, key: NoteKey, value: object, *, expected: int | None = None) -> Note:
            raise StoreUnavailableError("no quorum")

    made = replace(sources(), controls=Controls(Down()))
    actions, why = actions_of(made), "nothing was done: the store is not available: no quorum"
    assert await actions.pause({"cluster": "main"}) == why
    assert await actions.acknowledge({"cluster": "main", "shard": 0}) == why
    assert not made.events.latest()


async def test_status_lists_the_proxies_that_share_the_store() -> None:
    two = Member(
        "b-2",
        label="b",
        version="1",
        is_draining=True,
        clients=3,
        endpoints={"main": (Advertised(EndpointKind.PRIMARY, "10.0.0.2:7000"),)},
        epochs={"main": 7},
    )
    members = {"a-1": Member("a-1"), "b-2": two}
    leaders = {"main": "b-2", "pages": "b-2"}
    sharing = Sharing("etcd", "a-1", members, leaders, {"main": False, "pages": True})
    made = replace(sources(), sharing=sharing)
    document = status_document(made, 0.0)
    assert document["store"] == {
        "kind": "etcd",
        "is_synced": False,
        "synced": {"main": False, "pages": True},
        "leaders": {"main": "b-2", "pages": "b-2"},
    }
    first, second = document["proxies"]
    assert (first["name"], first["is_self"], first["leads"]) == ("a-1", True, [])
    assert (second["label"], second["is_self"], second["leads"]) == ("b", False, ["main", "pages"])
    assert (second["epochs"], second["clients"], second["is_draining"]) == ({"main": 7}, 3, True)
    assert second["endpoints"] == {"main": [{"kind": "primary", "address": "10.0.0.2:7000", "is_tls": False}]}


def test_a_cluster_is_unknown_while_the_store_was_never_reached() -> None:
    made = replace(sources(), sharing=Sharing("etcd", synced={"main": False, "pages": False}))
    assert unknown(made) == {"main"}, "a pool needs no store"
    topologies = parse_config(TEXT).topologies()
    board = {topology.cluster: topology for topology in topologies}
    assert "the store was never reached" in "".join(why_not_ready(board, board, False, unknown(made)))
    record = ShardRecord(SETUPS[0].key, 1, ShardState.OK, Address("a", 1), ())
    later = replace(made, records={record.key: record})
    assert not unknown(later), "it is down, and what it said is served"
    assert not unknown(replace(made, sharing=Sharing("etcd", synced={"main": True})))


async def test_a_pause_says_that_hands_are_off() -> None:
    made = sources()
    actions = actions_of(made)
    assert await actions.pause({"cluster": "main"}) is None
    assert await actions.resume({"cluster": "main"}) is None
    assert [event.message for event in made.events.latest()] == [
        "nothing is done to the nodes of main by itself",
        "what they need is done to the nodes of main by itself",
    ]
