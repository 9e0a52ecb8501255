"""Keys of one command must share a slot: judged as a Redis Cluster node does, in the order it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from shardproxy.fleet import RedisNode, free_port
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.oracle import Pair, command, said
from tests.fixtures.proxy import wait_until

COMMANDS = [
    "GET a",
    "SINTER a b",
    "SINTER {t}a {t}b",
    "RENAME a b",
    "RENAME {t}a {t}b",
    "SMOVE a b m",
    "COPY a b",
    "MSETNX a 1 b 2",
    "MSETNX {t}a 1 {t}b 2",
    "RPOPLPUSH a b",
    "LMOVE a b LEFT LEFT",
    "BITOP AND d a b",
    "PFCOUNT a b",
    "PFMERGE a b",
    "SUNIONSTORE d a b",
    "SDIFF a b",
    "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 m",
    "ZUNIONSTORE d 2 a b",
    "ZUNIONSTORE {t}d 2 {t}a {t}b",
    "ZINTER 2 a b",
    "ZDIFF 2 {t}a {t}b",
    "ZRANGESTORE d s 0 1",
    "SINTERCARD 2 a b",
    "LMPOP 2 a b LEFT",
    "ZMPOP 2 a b MIN",
    "EVAL return{KEYS[1]} 2 a b",
    "EVAL return{KEYS[2]} 2 {t}a {t}b",
    "EVAL return{ARGV[1]} 1 a b",
    "EVAL return(1) 0",
    "EVALSHA x 2 a b",
    "XREAD STREAMS a b 0 0",
    "XREAD STREAMS {t}a {t}b 0 0",
    "XREAD COUNT 1 STREAMS a 0",
    "XREADGROUP GROUP g c STREAMS a b > >",
    "SORT l STORE d",
    "SORT {t}l STORE {t}d",
    "GEORADIUS g 1 2 3 m STORE d",
    "GEORADIUSBYMEMBER g m 3 m STOREDIST d",
    "LCS a b",
    "OBJECT ENCODING a",
    "OBJECT FREQ a b",
    "SINTER a",
    "RENAME a",
    "ZUNIONSTORE d 3 a b",
    "ZINTER x a b",
    "XREAD STREAMS a b 0",
    "SINTER {}a {}b",
    "SINTER a{b a{b",
    "SINTER {{t}}a {{t}}b",
    "SINTER {t}{u}a {t}b",
    "SUBSTR a 0 1",
    "LMPOP 0 a LEFT",
    "EVAL return(1) -1",
    "EVAL return(1) 5 a b",
]


@pytest.fixture(scope="module")
def cluster_node(start_fleet_for_module: StartFleet) -> RedisNode:
    """One engine as a Redis Cluster that serves every slot."""
    ports = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    fleet = start_fleet_for_module(shards=1, replicas=0, args=ports)
    node = cast(RedisNode, fleet.shards[0].primary)
    node.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    wait_until(lambda: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"), "the cluster is up")
    return node


@pytest.mark.parametrize("line", COMMANDS)
def test_the_refusal_is_the_cluster_nodes(
    pair: Pair, cluster_node: RedisNode, wire: Callable[..., Wire], line: str
) -> None:
    cluster_node.ask("FLUSHALL")
    data = command(*line.split())
    expected = said(wire(cluster_node.address), [data])
    assert said(wire(pair.sharded), [data]) == expected
