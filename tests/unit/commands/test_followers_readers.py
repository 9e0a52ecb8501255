"""Who only reads the stream of a primary has nothing that could be promoted: WAIT does not count it."""

from __future__ import annotations

from shardproxy.commands.followers import REPLICA

INFO = (
    b"role:master\r\nconnected_slaves:3\r\n"
    b"slave0:ip=10.0.0.7,port=6379,state=online,offset=70,lag=0\r\n"
    b"slave1:ip=shardproxy,port=0,state=online,offset=0,lag=1\r\n"
    b"slave2:ip=10.0.0.8,port=6379,state=wait_bgsave,offset=0,lag=0\r\n"
)


def test_only_replicas_that_listen_and_are_online_are_counted() -> None:
    assert REPLICA.findall(INFO) == [b"70"]
