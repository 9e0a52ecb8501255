"""What an operator asks for: which shard is meant, and what is answered."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from shardproxy.admin.actions import Actions, RequestError
from shardproxy.admin.failover import events_document, status_document
from shardproxy.admin.naming import shard_called, why_no_shard
from shardproxy.admin.status import Sources, StatusBoard
from shardproxy.dataplane.statistics import Statistics
from shardproxy.failover.controls import Controls
from shardproxy.failover.events import EventName
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, Node
from shardproxy.model.replication import ShardKey
from shardproxy.store.memory import MemoryDesk

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


async def test_every_action_takes_a_name_or_a_number() -> None:
    made = sources()
    actions = Actions(made)
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


async def test_a_pause_says_that_hands_are_off() -> None:
    made = sources()
    actions = Actions(made)
    assert await actions.pause({"cluster": "main"}) is None
    assert await actions.resume({"cluster": "main"}) is None
    assert [event.message for event in made.events.latest()] == [
        "nothing is done to the nodes of main by itself",
        "what they need is done to the nodes of main by itself",
    ]
