"""What a node of a Redis Cluster says of all, read."""

from __future__ import annotations

import pytest

from shardproxy.model import Address, SlotRange
from shardproxy.topology.sources.cluster.view import ViewError, endpoints_read, view_read
from shardproxy.wire.reply import Reply

ASKED = Address("10.0.0.9", 7000)
NODES = """\
aaa 10.0.0.1:7001@17001 myself,master - 0 0 3 connected 0-99 200 [201->-bbb]
bbb 10.0.0.2:7002@17002,db-2 master,fail? - 0 0 2 connected 100-199 202-16383
ccc 10.0.0.3:7003@17003 slave bbb 0 0 2 connected
ddd :0@0 master,noaddr - 0 0 1 disconnected
eee 10.0.0.5:7005@17005 handshake - 0 0 0 connected
fff 10.0.0.6:7006@17006 slave,fail aaa 0 0 3 connected
"""


def test_each_line_is_a_node() -> None:
    view = view_read(NODES, ASKED)
    assert view.me.id == "aaa"
    assert view.me.slots == (SlotRange(0, 99), SlotRange(200, 200))
    assert view.primaries == {"aaa", "bbb"}
    members = view.members
    assert members["bbb"].address == Address("10.0.0.2", 7002)
    assert (members["bbb"].epoch, members["bbb"].is_doubted, members["bbb"].has_failed) == (2, True, False)
    assert (members["ccc"].is_primary, members["ccc"].primary_id) == (False, "bbb")
    assert members["ddd"].address is None
    assert members["eee"].address is None, "nobody knows who that is"
    assert members["fff"].has_failed


@pytest.mark.parametrize(
    ("where", "address"),
    [
        (":7001@17001", Address("10.0.0.9", 7001)),  # it has not heard yet where it is
        ("2001:db8::1:7001@17001", Address("2001:db8::1", 7001)),
        ("10.0.0.1:7001", Address("10.0.0.1", 7001)),
        ("10.0.0.1:0@17001", None),
    ],
)
def test_a_node_is_where_it_is_said_to_be(where: str, address: Address | None) -> None:
    assert view_read(f"aaa {where} myself,master - 0 0 1 connected", ASKED).me.address == address


def test_a_node_is_called_as_the_cluster_wants_it_called() -> None:
    reply: Reply = [
        [0, 99, [b"db-1.example", 7001, b"aaa", []], [None, 7003, b"ccc", []], [b"?", 7004, b"ddd"]]
    ]
    endpoints = endpoints_read(reply, ASKED)
    assert endpoints == {
        "aaa": Address("db-1.example", 7001),
        "ccc": Address("10.0.0.9", 7003),
        "ddd": Address("10.0.0.9", 7004),
    }
    assert view_read(NODES, ASKED, endpoints).me.address == Address("db-1.example", 7001)
    assert view_read(NODES, ASKED, endpoints).members["ddd"].address is None
    assert endpoints_read(b"ERR", ASKED) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "aaa 10.0.0.1:7001@17001 master - 0 0 1 connected",
        "aaa 10.0.0.1:7001@17001 myself,master - 0 0 x connected",
        "aaa 10.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-16384",
        "aaa 10.0.0.1:7001@17001 myself,master - 0 0 1 connected 9-3",
        "-ERR This instance has cluster support disabled",
    ],
)
def test_what_is_no_view_is_refused(text: str) -> None:
    with pytest.raises(ViewError):
        view_read(text, ASKED)
