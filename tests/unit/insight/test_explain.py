"""Where a request goes, as the data plane decides it: a table of what is asked and what is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.insight.explain import (
    CROSSSLOT,
    READONLY,
    AccessFacts,
    CommandFacts,
    KeyFacts,
    NodeFacts,
    Question,
    RuleFacts,
    ShardFacts,
    explain,
)
from shardproxy.insight.loss import Loss
from shardproxy.model import Address, EndpointKind, SlotRange

P0, R0, P1 = Address("10.0.0.1", 1), Address("10.0.0.2", 1), Address("10.0.1.1", 1)
GET = CommandFacts("get", is_read=True)
SET = CommandFacts("set")
MGET = CommandFacts("mget", "split", "mget", is_read=True)
A, B = KeyFacts(b"a", 10, 0), KeyFacts(b"b", 9000, 1)
LOSS = Loss(R0, "it is the replica that answers")
SHARDS = (
    ShardFacts(
        0, 0, "users", (NodeFacts(P0, is_primary=True, zone="a"), NodeFacts(R0, False, zone="b")), loss=LOSS
    ),
    ShardFacts(1, 3, "3", (NodeFacts(P1, is_primary=True, zone="a"),), loss=Loss(None, "it has no replica")),
)
QUESTION = Question(
    "sessions",
    (b"GET", b"a"),
    GET,
    AccessFacts("default", is_asked=False),
    keys=(A,),
    shards=SHARDS,
    limits={"request": 1000},
    timeouts={"park": 3.0, "connect": 1.0, "reply": 5.0},
)


def asked(**changes: Any) -> dict[str, Any]:
    return explain(replace(QUESTION, **changes))


def with_nodes(*nodes: NodeFacts, **fields: Any) -> tuple[ShardFacts, ...]:
    return (replace(SHARDS[0], nodes=nodes, **fields), SHARDS[1])


DEAD = NodeFacts(P0, is_primary=True, state="down", reason="nothing listens", is_answering=False)
OLD = NodeFacts(R0, is_primary=False, is_readable=False, why_not_readable="syncing")
PRIMARY, REPLICA = SHARDS[0].nodes

# what differs from GET a: what becomes of it, a part of the text, who may serve it
CASES: dict[str, tuple[dict[str, Any], str, str, list[Address]]] = {
    "a read": ({}, "served", "reads.from is primary", [P0]),
    "a read by replicas": ({"reads": "replica"}, "served", "reads.from is replica", [R0]),
    "no replica is fit": (
        {"reads": "replica", "shards": with_nodes(PRIMARY, OLD)},
        "served",
        "no replica is fit",
        [P0],
    ),
    "nearest, no zone": ({"reads": "nearest"}, "served", "in turn", [P0, R0]),
    "nearest, in zone b": ({"reads": "nearest", "zone": "b"}, "served", "zone b is the proxy's", [R0]),
    "nearest, in zone c": ({"reads": "nearest", "zone": "c"}, "served", "none is in", [P0, R0]),
    "at the reader endpoint": ({"endpoint": EndpointKind.READER}, "served", "reads from replicas", [R0]),
    "nearest at the reader": (
        {"reads": "nearest", "zone": "a", "endpoint": EndpointKind.READER},
        "served",
        "reads from replicas",
        [R0],
    ),
    "at the primary endpoint": (
        {"reads": "replica", "endpoint": EndpointKind.PRIMARY},
        "served",
        "asks primaries only",
        [P0],
    ),
    "a write": ({"command": SET, "reads": "replica"}, "served", "the primary takes writes", [P0]),
    "a write that replicas must have": (
        {"command": SET, "shards": with_nodes(PRIMARY, REPLICA, wait=1)},
        "served",
        "1 of its replicas have to have it",
        [P0],
    ),
    "a write at the reader": ({"command": SET, "endpoint": EndpointKind.READER}, "refused", READONLY, []),
    "a write to a shard that only reads": (
        {"command": SET, "shards": with_nodes(PRIMARY, REPLICA, read_only="its disk is full")},
        "refused",
        "TRYAGAIN shard users cannot take the command: its disk is full; command not executed",
        [],
    ),
    "its primary is down": ({"shards": with_nodes(DEAD, REPLICA)}, "waits", "up to 3 s", []),
    "its primary is silent": (
        {"shards": with_nodes(replace(DEAD, is_silent=True), REPLICA)},
        "waits",
        "hears of it within 5 s",
        [],
    ),
    "it has no primary": ({"shards": with_nodes(REPLICA)}, "waits", "has no primary", []),
    "its primary is down, reads go on": (
        {"shards": with_nodes(DEAD, REPLICA), "reads": "replica"},
        "served",
        "reads.from is replica",
        [R0],
    ),
    "the shard is refused": (
        {"shards": with_nodes(REPLICA, is_refused=True, why_not="it evicts")},
        "refused",
        "ERR shard users is not served: it evicts",
        [],
    ),
    "its slots are held": (
        {"shards": with_nodes(PRIMARY, held=(SlotRange(0, 99),))},
        "waits",
        "are held",
        [],
    ),
    "other slots are held": ({"shards": with_nodes(PRIMARY, held=(SlotRange(50, 99),))}, "served", "", [P0]),
    "only writes are held": (
        {"shards": with_nodes(PRIMARY, held=(SlotRange(0, 99),), is_only_writes_held=True)},
        "served",
        "",
        [P0],
    ),
    "keys of two shards": ({"keys": (A, B)}, "refused", CROSSSLOT, []),
    "keys of two slots on one shard": ({"keys": (A, KeyFacts(b"c", 11, 0))}, "refused", CROSSSLOT, []),
    "keys of two slots, one shard is all": (
        {"keys": (A, KeyFacts(b"c", 11, 0)), "is_relaxed": True},
        "served",
        "",
        [P0],
    ),
    "a slot that nobody has": ({"keys": (KeyFacts(b"a", 10, None),)}, "refused", "CLUSTERDOWN", []),
    "patterns of SORT": ({"keys_error": "ERR BY option of SORT denied"}, "refused", "ERR BY option", []),
    "too large": ({"args": (b"GET", b"a" * 2000)}, "refused", "limits.request is 1000", []),
    "unknown": (
        {"command": CommandFacts("json.get", "unknown", is_known=False)},
        "served",
        "asks the engines",
        [],
    ),
    "arity": (
        {"command": replace(GET, is_arity=False)},
        "refused",
        "ERR wrong number of arguments for 'get' command",
        [],
    ),
    "denied": (
        {"access": AccessFacts("app", why="its rules deny the command get", reply="NOPERM User app")},
        "refused",
        "NOPERM User app",
        [],
    ),
    "restricted": (
        {"command": CommandFacts("config|set", "refused", note="nodes are configured by whoever runs them")},
        "refused",
        "ERR CONFIG SET is refused by this proxy: nodes are configured",
        [],
    ),
    "local": ({"command": CommandFacts("ping", "local"), "keys": ()}, "served", "no shard is asked", []),
    "offload": ({"command": CommandFacts("info", "offload"), "keys": ()}, "served", "control plane", []),
    "without keys": (
        {"command": CommandFacts("lolwut", "any", is_read=True), "keys": ()},
        "served",
        "",
        [P0],
    ),
}


@pytest.mark.parametrize(("changes", "outcome", "text", "candidates"), CASES.values(), ids=CASES.keys())
def test_what_becomes_of_a_request(
    changes: dict[str, Any], outcome: str, text: str, candidates: list[Address]
) -> None:
    said = asked(**changes)
    assert said["outcome"] == outcome, said["text"]
    assert text in said["text"]
    found = [node for part in said["parts"] for node in part["candidates"]]
    assert found == [str(node) for node in candidates]


def test_a_split_command_has_a_part_for_each_shard() -> None:
    said = asked(command=MGET, keys=(A, B), args=(b"MGET", b"a", b"b"))
    assert (
        said["text"] == "it is split over 2 shards at once, and answered by values in the order of the keys"
    )
    assert [(part["shard"], part["candidates"]) for part in said["parts"]] == [(0, [str(P0)]), (3, [str(P1)])]
    assert [key["shard"] for key in said["keys"]] == [0, 3]


def test_who_does_not_serve_it_is_said_with_the_reason() -> None:
    (part,) = asked(reads="nearest", zone="b", shards=with_nodes(PRIMARY, REPLICA))["parts"]
    assert [(node["is_candidate"], node["why_not"]) for node in part["nodes"]] == [
        (False, "it is in another zone"),
        (True, ""),
    ]
    (part,) = asked(reads="replica", shards=with_nodes(PRIMARY, OLD))["parts"]
    assert [node["why_not"] for node in part["nodes"]] == ["", "syncing"]


def test_a_read_that_replicas_answer_goes_on_without_the_primary() -> None:
    (without,) = asked(reads="replica")["without_primary"]
    assert without["text"] == f"It would go on at {R0}."
    assert without["promoted"] == str(R0)


def test_what_waits_for_a_promotion_is_said_how_long() -> None:
    (without,) = asked()["without_primary"]
    assert without["text"] == f"It would wait, unsent, until {R0} is promoted, up to 3 s (timeouts.park)."
    (without,) = asked(keys=(B,), command=SET)["without_primary"]
    assert "nobody is promoted" in without["text"]
    assert "INDOUBT" in without["text"]
    assert without["promoted"] is None


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"reads": "replica"}, "it goes to the primary instead"),
        ({"has_reader": True, "command": SET}, "reads of its keys through this proxy go to the primary"),
        ({}, None),
        ({"has_reader": True}, None),
    ],
)
def test_reads_after_writes(changes: dict[str, Any], part: str | None) -> None:
    said = asked(**changes)["read_your_writes"]
    assert said is None if part is None else part in said


def test_keys_are_shown_as_text() -> None:
    said = asked(keys=(KeyFacts(b"\xff{t}\n", 10, 0, tag=b"t"),), rule=RuleFacts("*", "loaded"))
    assert said["keys"] == [{"key": r"\xff{t}\x0a", "slot": 10, "tag": "t", "family": None, "shard": 0}]
    assert said["caching"] == {"match": "*", "text": "loaded"}


NODES = st.lists(
    st.builds(
        NodeFacts,
        st.integers(1, 99).map(lambda number: Address(f"10.9.0.{number}", 1)),
        is_primary=st.just(False),
        zone=st.sampled_from([None, "a", "b"]),
        is_answering=st.booleans(),
        is_readable=st.booleans(),
    ),
    max_size=5,
    unique_by=lambda node: node.address,
)


@given(
    NODES,
    st.sampled_from([None, "a", "b", "c"]),
    st.sampled_from(["primary", "replica", "nearest"]),
    st.sampled_from(list(EndpointKind)),
    st.booleans(),
    st.booleans(),
)
def test_nobody_is_asked_who_may_not_be(
    replicas: list[NodeFacts],
    zone: str | None,
    reads: str,
    endpoint: EndpointKind,
    is_read: bool,
    is_primary_up: bool,
) -> None:
    primary = replace(PRIMARY, is_answering=is_primary_up, zone="a")
    shards = with_nodes(primary, *replicas)
    said = asked(command=GET if is_read else SET, shards=shards, zone=zone, reads=reads, endpoint=endpoint)
    (part,) = said["parts"]
    chosen = [node for node in (primary, *replicas) if str(node.address) in part["candidates"]]
    assert bool(chosen) == (said["outcome"] == "served")
    assert all(node.is_answering for node in chosen)
    assert all(node.is_primary or (is_read and node.is_readable) for node in chosen)
    may_spread = (
        is_read
        and endpoint is not EndpointKind.PRIMARY
        and (reads != "primary" or endpoint is EndpointKind.READER)
    )
    fit = [node for node in replicas if node.is_answering and node.is_readable]
    if not may_spread:
        assert not any(not node.is_primary for node in chosen)
    elif fit and (reads != "nearest" or endpoint is EndpointKind.READER):
        assert primary not in chosen, "a replica answers where one can"
    for node in part["nodes"]:
        assert node["is_candidate"] or node["why_not"] or node["role"] == "primary"
