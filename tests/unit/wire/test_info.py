"""INFO and ROLE as engines print them."""

from __future__ import annotations

import pytest

from shardproxy.model import Address
from shardproxy.model.replication import AttachedReplica, Lineage, Role
from shardproxy.wire.info import (
    InfoError,
    read_announced,
    read_fields,
    read_replication,
    read_role,
    read_server,
)
from shardproxy.wire.reply import Failure, Reply, Verbatim

PRIMARY = b"""# Replication\r
role:master\r
connected_slaves:2\r
slave0:ip=127.0.0.1,port=7102,state=online,offset=1400,lag=0\r
slave1:ip=::1,port=7103,state=wait_bgsave,offset=0,lag=1,type=replica\r
master_failover_state:no-failover\r
master_replid:6cb38ce36ce2c1dee31e2e247f8f28a70365ac9c\r
master_replid2:0000000000000000000000000000000000000000\r
master_repl_offset:1414\r
second_repl_offset:-1\r
repl_backlog_active:1\r
"""

REPLICA = b"""# Replication\r
role:slave\r
master_host:10.0.0.7\r
master_port:6379\r
master_link_status:%b\r
master_last_io_seconds_ago:%b\r
master_sync_in_progress:%b\r
slave_read_repl_offset:50\r
slave_repl_offset:50\r
slave_priority:10\r
slave_read_only:1\r
connected_slaves:0\r
master_failover_state:no-failover\r
master_replid:e28132ff92fe8a244b24c3daeadae37285f57224\r
master_replid2:6cb38ce36ce2c1dee31e2e247f8f28a70365ac9c\r
master_repl_offset:50\r
second_repl_offset:51\r
"""


def test_primary() -> None:
    seen = read_replication(read_fields(PRIMARY))
    assert seen.role is Role.PRIMARY
    assert seen.lineage == Lineage("6cb38ce36ce2c1dee31e2e247f8f28a70365ac9c")
    assert seen.offset == 1414
    assert not seen.is_handing_over
    assert seen.attached == (
        AttachedReplica(Address("127.0.0.1", 7102), True, 1400),
        AttachedReplica(Address("::1", 7103), False, 0),
    )


def test_primary_that_hands_over() -> None:
    assert read_replication(read_fields(PRIMARY.replace(b"no-failover", b"waiting-for-sync"))).is_handing_over


@pytest.mark.parametrize(
    ("link", "last_io", "sync", "is_up", "heard", "is_syncing"),
    [
        (b"up", b"0", b"0", True, 0, False),
        (b"down", b"-1", b"0", False, None, False),
        (b"down", b"-1", b"1", False, None, True),
    ],
)
def test_replica(
    link: bytes, last_io: bytes, sync: bytes, is_up: bool, heard: int | None, is_syncing: bool
) -> None:
    seen = read_replication(read_fields(REPLICA % (link, last_io, sync)))
    assert (seen.role, seen.offset, seen.priority) == (Role.REPLICA, 50, 10)
    assert seen.follows == Address("10.0.0.7", 6379)
    assert seen.lineage.second_offset == 51
    assert (seen.is_link_up, seen.last_io, seen.is_syncing) == (is_up, heard, is_syncing)


def test_a_history_has_what_came_before_its_branch() -> None:
    lineage = Lineage("new", "old", 101)
    assert lineage.has("new", 5000)
    assert lineage.has("old", 100)
    assert not lineage.has("old", 101)  # it went on without the one that was promoted
    assert not lineage.has("other", 1)
    assert not Lineage("new").has("", 0)


def test_what_changes_with_every_write_is_no_news() -> None:
    before = read_replication(read_fields(PRIMARY))
    assert before == read_replication(read_fields(PRIMARY.replace(b"1414", b"9999")))
    assert before != read_replication(read_fields(PRIMARY.replace(b"6cb", b"7cb")))


@pytest.mark.parametrize(
    ("fields", "version", "mode"),
    [
        (b"redis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:abc\r\n", "7.0.15", "standalone"),
        (
            b"redis_version:7.2.4\r\nvalkey_version:8.1.0\r\nserver_mode:cluster\r\nrun_id:abc\r\n",
            "8.1.0",
            "cluster",
        ),
    ],
)
def test_server(fields: bytes, version: str, mode: str) -> None:
    server = read_server(read_fields(Verbatim(fields)))
    assert (server.run_id, server.version, server.mode) == ("abc", version, mode)


def test_role() -> None:
    assert read_role([b"master", 50, [[b"127.0.0.1", b"7102", b"50"]]]) == (Role.PRIMARY, 50)
    assert read_role([b"slave", b"127.0.0.1", 1, b"connect", -1]) == (Role.REPLICA, -1)


@pytest.mark.parametrize("reply", [[b"sentinel", []], b"slave", None, [b"master"], 7])
def test_a_strange_role_is_an_error(reply: Reply) -> None:
    with pytest.raises(InfoError):
        read_role(reply)


@pytest.mark.parametrize(
    "text", [b"", b"role:guest\r\n", b"role:master\r\n", PRIMARY.replace(b"1414", b"many"), b"\xff\xfe"]
)
def test_a_strange_info_is_an_error(text: bytes) -> None:
    with pytest.raises(InfoError):
        read_replication(read_fields(text))


def test_info_that_is_no_text_is_an_error() -> None:
    with pytest.raises(InfoError):
        read_fields([b"role", b"master"])


@pytest.mark.parametrize(
    ("config", "announced"),
    [
        ([b"replica-announce-ip", b"", b"replica-announce-port", b"0", b"replica-announced", b"yes"], None),
        ([b"replica-announce-port", b"7000", b"replica-announce-ip", b"pod-1"], Address("pod-1", 7000)),
        ([b"replica-announce-ip", b"pod-1"], Address("pod-1", 0)),
        ([b"replica-announce-ip", b"", b"replica-announce-port", b"7000"], Address("", 7000)),
        ([b"replica-announce-port", b"many"], None),
        ([b"repl-ping-replica-period", b"1"], None),
        ([b"replica-announce-ip"], None),
        ([], None),
        (Failure("NOPERM"), None),
        (b"OK", None),
        (None, None),
    ],
)
def test_what_a_replica_announces(config: Reply, announced: Address | None) -> None:
    assert read_announced(config) == announced


def test_who_only_reads_the_stream_is_no_replica() -> None:
    reader = b"slave0:ip=10.0.0.9,port=0,state=online,offset=1400,lag=0\r\n"
    only_reader = PRIMARY.replace(b"connected_slaves:2", b"connected_slaves:1\r\n" + reader)
    lines = [line for line in only_reader.split(b"\r\n") if b"port=71" not in line]
    assert not read_replication(read_fields(b"\r\n".join(lines))).has_replicas
    assert read_replication(read_fields(PRIMARY)).has_replicas
