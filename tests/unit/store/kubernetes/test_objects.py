"""What objects hold: all that a cluster can have fits into one."""

from __future__ import annotations

import hashlib
import json

import pytest

from shardproxy.model import Address, SlotRange
from shardproxy.model.replication import Lineage, ShardKey
from shardproxy.store.kubernetes.names import Kind, Names
from shardproxy.store.kubernetes.objects import MAX_OBJECT, TooLargeError, object_of, stored_of
from shardproxy.store.kubernetes.shards import led, with_records
from shardproxy.store.record import Flapping, Promise, ShardRecord, ShardState

LABELS = Names("shardproxy").labels(Kind.CLUSTER)


def run_id(number: int) -> str:
    return hashlib.sha1(str(number).encode()).hexdigest()


def full_record(index: int) -> ShardRecord:
    """One in the middle of a failover, with all that can be known of it."""
    nodes = tuple(Address(f"redis-{index}-{node}.redis-{index}.cache.svc", 6379) for node in range(6))
    processes = tuple((node, run_id(index * 100 + number)) for number, node in enumerate(nodes))
    voters = frozenset(nodes[1:])
    return ShardRecord(
        key=ShardKey("sessions", index),
        epoch=12,
        state=ShardState.FENCING,
        primary=None,
        nodes=nodes,
        last=nodes[0],
        joined=nodes,
        processes=processes,
        name=f"shard-{index}",
        slots=(SlotRange(index * 65, index * 65 + 64),),
        promise=Promise(voters, 1),
        pending=(Promise(voters, 2),),
        replaced=processes[:2],
        floor=123456789,
        flapping=Flapping(30.0, 1732000000.0),
        lineage=Lineage(run_id(index + 1), run_id(index + 2), 123456),
        histories=tuple(run_id(index * 1000 + number) for number in range(16)),
        run_id=run_id(index),
    )


def test_250_shards_of_6_nodes_fit_into_an_object() -> None:
    body, turn = led(None, "sessions", "web-1", "uid", lambda _: False)
    for index in range(250):
        body, _ = with_records(body, [full_record(index)], "uid", turn)
    value = object_of("shardproxy.sessions", LABELS, body)
    plain, size = len(json.dumps(body)), len(json.dumps(value))
    assert plain > MAX_OBJECT // 2  # it would not fit for much longer as it is
    assert size < 512 << 10
    value["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    assert stored_of(value).body == body


def test_what_does_not_fit_is_refused() -> None:
    noise = "".join(run_id(number) for number in range(60_000))
    with pytest.raises(TooLargeError, match="holds"):
        object_of("shardproxy.sessions.script", LABELS, {"notes": {"a": noise}})


def test_what_is_small_can_be_read_by_people() -> None:
    body, _ = led(None, "sessions", "web-1", "uid", lambda _: False)
    value = object_of("shardproxy.sessions", LABELS, body)
    assert json.loads(value["data"]["leader"])["member"] == "web-1"
    assert "binaryData" not in value


@pytest.mark.parametrize("packed", ["AAAA", "!", "H4sIAAAAAAAA"])
def test_what_is_damaged_is_said_to_be(packed: str) -> None:
    value = object_of("shardproxy.sessions", LABELS, {})
    value["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    value["binaryData"] = {"shards": packed}
    with pytest.raises(ValueError):
        _ = stored_of(value).body
