"""What the control plane asks of the data plane about holds and keys."""

from __future__ import annotations

import json
import time

import pytest

from shardproxy.commands.table import Table
from shardproxy.config import parse_config
from shardproxy.dataplane import DataPlane
from shardproxy.dataplane.spec import ShardTerms, cluster_spec
from shardproxy.fleet import Fleet
from shardproxy.model import Hold, SlotRange
from shardproxy.model.replication import ShardKey
from shardproxy.topology.settings import settings_read
from tests.fixtures.clients import Wire
from tests.fixtures.offload import CLUSTER, topology_of
from tests.fixtures.proxy import cluster_of
from tests.integration.moving.moves import slot_of


async def test_what_is_held_is_settled_and_waits(fleet: Fleet) -> None:
    table = Table.load()
    cluster = cluster_of(fleet, endpoints={"configuration": "127.0.0.1:0"})
    settings = settings_read(parse_config(json.dumps({"clusters": {CLUSTER: cluster}})), table.version)[
        CLUSTER
    ]
    plane = DataPlane.start(workers=2, table=table.encode())
    try:
        assert await plane.settle("nobody", 1.0)
        for hold in (Hold((SlotRange(0, 16383),), only_writes=True), None):
            topology = topology_of(fleet, 1)
            terms = {ShardKey(CLUSTER, shard.index): ShardTerms(hold=hold) for shard in topology.shards}
            bound = await plane.apply(cluster_spec(settings, topology, terms=terms))
            began = time.monotonic()
            assert await plane.settle(CLUSTER, 5.0)
            assert time.monotonic() - began < 5.0
            if hold is not None:
                wire = Wire(bound[0].bound)
                wire.send_command("GET", "key")
                wire.send_command("INCR", "key")
                assert wire.reply() is None
        assert wire.reply() == 1, "it went on without the hold"
        wire.ask("DEL", "key")
        wire.close()
        keys = [b"key:%d" % number for number in range(50)]
        half = [SlotRange(0, 4000), SlotRange(8000, 12000)]
        expected = [key for key in keys if any(r.first <= slot_of(key) <= r.last for r in half)]
        assert await plane.owned(CLUSTER, half, keys) == expected
        with pytest.raises(KeyError):
            await plane.owned("nobody", half, keys)
    finally:
        plane.stop()
