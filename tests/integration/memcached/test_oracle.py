"""Tables of bytes: the proxy says what a plain memcached says, however the bytes are cut."""

# ruff: noqa: E501  # a case is a line

from __future__ import annotations

import re
import struct
from collections.abc import Callable

import pytest

from tests.fixtures.clients import Wire
from tests.integration.memcached.conftest import Asker, Pool, said

LONG = b"x" * 251
LARGE = b"v" * 300_000
TOO_LARGE = b"v" * 1_200_000

TEXT = {
    "set and get": b"set a 5 0 3\r\nfoo\r\nget a\r\nget none\r\n",
    "an empty value": b"set a 0 0 0\r\n\r\nget a\r\n",
    "line ends in a value": b"set a 0 0 9\r\n\r\nEND\r\n\r\n\r\nget a\r\n",
    "any bytes in a value": b"set a 0 0 256\r\n" + bytes(range(256)) + b"\r\nget a\r\n",
    "a value like a reply": b"set a 0 0 21\r\nVALUE b 0 3\r\nEND\r\nEN\r\nget a\r\n",
    "a large value": b"set a 0 0 300000\r\n" + LARGE + b"\r\nget a\r\nget a\r\n",
    "add and replace": b"add a 0 0 1\r\nx\r\nadd a 0 0 1\r\ny\r\nreplace a 0 0 1\r\nz\r\nreplace b 0 0 1\r\nz\r\nget a\r\n",
    "append and prepend": b"append a 0 0 1\r\nx\r\nset a 0 0 1\r\nm\r\nappend a 0 0 1\r\nz\r\nprepend a 0 0 1\r\na\r\nget a\r\n",
    "cas": b"cas a 0 0 1 5\r\nx\r\nset a 0 0 1\r\nx\r\ncas a 0 0 1 999999\r\ny\r\nget a\r\n",
    "delete": b"delete a\r\nset a 0 0 1\r\nx\r\ndelete a\r\nget a\r\ndelete a 0\r\ndelete a 5\r\n",
    "counters": b"incr n 1\r\nset n 0 0 2\r\n10\r\nincr n 5\r\ndecr n 20\r\nincr n x\r\nincr n -1\r\nget n\r\n",
    "a counter that wraps": b"set n 0 0 20\r\n18446744073709551615\r\nincr n 2\r\n",
    "a counter that is none": b"set n 0 0 1\r\nx\r\nincr n 1\r\n",
    "touch": b"touch a 10\r\nset a 0 0 1\r\nx\r\ntouch a 100\r\ntouch a -1\r\nget a\r\n",
    "get and touch": b"set a 3 0 1\r\nx\r\ngat 100 a\r\ngat 100 none\r\ngat x a\r\ngat 100\r\n",
    "noreply": b"set a 0 0 1 noreply\r\n1\r\nincr a 1 noreply\r\nget a\r\ndelete a noreply\r\nget a\r\n",
    "noreply everywhere": b"add b 0 0 1 noreply\r\n1\r\nappend b 0 0 1 noreply\r\n2\r\nprepend b 0 0 1 noreply\r\n0\r\n"
    b"touch b 0 noreply\r\ndecr b 2 noreply\r\nget b\r\ncas b 0 0 1 77 noreply\r\nx\r\nreplace b 0 0 1 noreply\r\ny\r\nget b\r\n",
    "noreply of what fails": b"delete none noreply\r\nincr none 1 noreply\r\nset a 0 0 1 noreply\r\nx\r\nincr a 1 noreply\r\nget a\r\n",
    "noreply flush": b"set a 0 0 1\r\nx\r\nflush_all noreply\r\nget a\r\n",
    "flush_all": b"set a 0 0 1\r\nx\r\nflush_all\r\nget a\r\nflush_all 0\r\nflush_all x\r\nflush_all 1 2 3\r\n",
    "verbosity": b"verbosity 0\r\nverbosity\r\nverbosity x\r\nverbosity -1\r\nverbosity 0 noreply\r\nverbosity 0 1 2\r\n",
    "a time to live beyond 32 bits": b"set a 0 0 1\r\nx\r\nset a 0 4294967295 1\r\ny\r\nget a\r\nset a 0 4294967296 1\r\nz\r\nget a\r\n"
    b"set a 0 4294967295 1 noreply\r\nw\r\nget a\r\nset a 0 -2147483649 1\r\nv\r\ntouch a 4294967295\r\nget a\r\n",
    "flags beyond 32 bits": b"set a 4294967296 0 1\r\nx\r\nget a\r\n",
    "bare line feeds": b"set a 0 0 1\nx\r\nget a\nget none\nversion\n",
    "spaces": b"  get   a  \r\nset  a   0 0  1 \r\nx\r\nget a\r\n",
    "tabs and control characters are key bytes": b"set a\tb 0 0 1\r\nx\r\nget a\tb\r\nset \x01\x7f 0 0 1\r\ny\r\nget \x01\x7f\r\n",
    "bytes beyond ASCII in a key": "set schlüssel 0 0 1\r\nx\r\nget schlüssel\r\n".encode(),
    "the longest key": b"set %s 0 0 1\r\nx\r\nget %s\r\n" % (LONG[1:], LONG[1:]),
    "version": b"version\r\nversion x\r\n",
    "quit": b"set a 0 0 1\r\nx\r\nquit\r\nget a\r\n",
    "get by its old name": b"set a 0 0 1\r\nx\r\nbget a\r\nbget none\r\n",
    "an expired key": b"set a 0 -1 1\r\nx\r\nget a\r\n",
    "numbers with zeros": b"set a 0 0 01\r\nx\r\nget a\r\n",
    "pipelined": b"".join(b"set k%d 0 0 1\r\n%d\r\nget k%d\r\n" % (i, i % 10, i) for i in range(300)),
}

META = {
    "mg": b"mg a\r\nmg a v\r\nms a 2\r\nhi\r\nmg a\r\nmg a v\r\nmg a k s t f v\r\n",
    "opaque": b"ms a 2 Oabc\r\nhi\r\nmg a Odef k v\r\nmg none Oghi k\r\nmg a O" + b"x" * 40 + b"\r\n",
    "base64 keys": b"ms Zm9v 2 b\r\nhi\r\nmg Zm9v b k v\r\nmd Zm9v b q\r\nmg Zm9v b k v\r\nms !!! 1 b\r\nx\r\n",
    "a key in base64 and the same in plain": b"set bar 0 0 1\r\nx\r\nmg YmFy b k v\r\nmd YmFy b\r\nget bar\r\nms YmFy 2 b\r\n10\r\nget bar\r\n"
    b"ma YmFy b v\r\nget bar\r\nmg Ym!Fy k b v\r\nme YmFz b\r\n",
    "no base64": b"mg YmF b v\r\nmd ==== b\r\nma !!! b\r\nme YmF b\r\nms YmF 1 b\r\nx\r\nmg Y=== q b\r\nmn\r\n",
    "modes of ms": b"ms a 1 ME\r\nx\r\nms a 1 ME\r\ny\r\nms a 1 MA\r\nz\r\nms a 1 MP\r\nw\r\nms b 1 MR\r\nx\r\nmg a v\r\nms a 1 MX\r\n1\r\n",
    "ttl and flags": b"ms a 1 T100 F7\r\nx\r\nmg a f t v\r\nmg a T0 t\r\nmg a t\r\n",
    "vivify and recache": b"mg a N30 v t\r\nmg a N30 v\r\nms a 1 T90\r\nx\r\nmg a R100 v\r\nmg a R100 v\r\n",
    "stale": b"ms a 1 T90\r\nx\r\nmd a I T30\r\nmg a v\r\nmg a v\r\n",
    "hit before": b"ms a 1\r\nx\r\nmg a h\r\nmg a h\r\nmg a h l t\r\n",
    "md": b"md a\r\nms a 1\r\nx\r\nmd a q\r\nmd a\r\nmd a C5\r\n",
    "ma": b"ma n\r\nma n N0 J13 v\r\nma n v\r\nma n D10 v t\r\nma n MD D3 v\r\nma n MX\r\nms s 1\r\nx\r\nma s\r\n",
    "me": b"me none\r\nme\r\n",
    "mn": b"mn\r\nmn\r\nmn x\r\n",
    "quiet": b"ms a 1 q\r\nx\r\nmg a q v\r\nmg none q v\r\nmd none q\r\nmd a q\r\nma n q\r\nms n 1\r\n5\r\nma n q v\r\nms z 1 MR q\r\ny\r\nmn\r\n",
    "a quiet line of many nodes": b"".join(b"mg none%d k q v\r\n" % i for i in range(50)) + b"mn\r\n",
    "a quiet error": b"mg a q !\r\nms a 1 q C5\r\nx\r\nms a 1 q !\r\nx\r\nmn\r\n",
    "a quiet flag twice": b"ms a 1 q q\r\nx\r\nmg a q v q\r\nmd a q q\r\nma a q q\r\nmn\r\n",
    "flags": b"mg a !\r\nmg a v v\r\nms a 1 S5\r\nx\r\nmg a " + b"v " * 30 + b"\r\n",
    "too little": b"mg\r\nms\r\nmd\r\nma\r\nms a\r\nmx a\r\n",
}

REFUSED = {
    "no command": b"\r\n\n \r\ng\r\nnope\r\nGET a\r\nget\r\ngets\r\ngat\r\n",
    "too few words": b"set a 0 0\r\nadd\r\ncas a 0 0 1\r\ndelete\r\nincr a\r\ntouch a\r\n",
    "one key of many too long": b"get a %s b\r\n" % LONG,
    "a block without line end": b"set a 0 0 1\r\nabc\r\nget a\r\n",
    "a short block": b"set a 0 0 1\r\n\r\nb\r\nget a\r\n",
    "a block with a line feed alone": b"set a 0 0 1\r\nb\nget a\r\nget a\r\n",
    "a block without line end, noreply": b"set a 0 0 1 noreply\r\nabc\r\nget a\r\n",
    "a value too large": b"set a 0 0 1200000\r\n"
    + TOO_LARGE
    + b"\r\nget a\r\nms a 1200000\r\n"
    + TOO_LARGE
    + b"\r\nmn\r\n",
    **{
        f"the length {length}": f"set a 0 0 {length}\r\nget a\r\nset a 0 0 {length} noreply\r\nmn\r\nms a {length}\r\nmn\r\n".encode()
        for length in ("-1", "x", "2147483646", "2147483648", "4294967295", "9" * 20)
    },
    "a NUL ends a line early": b"get a\0b c\r\nset k\0 0 0 1\r\ndelete k\0 noreply\r\n",
    "words too many": b"delete a 0 noreply x\r\nincr a 1 noreply x\r\nset a 0 0 1 noreply x\r\n",
}

# One at a time: memcached 1.6.18 loses the reply to one of them when all come at once.
TOO_LONG = {
    f"key too long, {line[:5].strip()}": (line % LONG.decode()).encode() + b"\r\nmn\r\n"
    for line in (
        "get %s",
        "gets a %s",
        "gat 0 %s",
        "delete %s",
        "incr %s 1",
        "decr %s 1",
        "touch %s 0",
        "mg %s",
        "md %s",
        "ma %s",
    )
}

EVERY = {**TEXT, **META, **REFUSED, **TOO_LONG}
REFUSED_HERE = b"CLIENT_ERROR this command is refused by the proxy: ask the node itself\r\n"
UNIQUE = re.compile(rb"(?m)^(VALUE \S+ \d+ \d+) \d+\r$")


@pytest.mark.parametrize("case", EVERY)
def test_the_reply_is_memcacheds(pool: Pool, wire: Callable[..., Wire], case: str) -> None:
    data = EVERY[case]
    expected = said(wire(pool.plain), [data])
    assert said(wire(pool.proxy), [data]) == expected
    if len(data) < 1000:
        pool.empty()
        pieces = [data[at : at + 1] for at in range(len(data))]
        assert said(wire(pool.proxy), pieces) == expected


def test_values_of_many_keys_come_in_the_order_of_the_request(pool: Pool, wire: Callable[..., Wire]) -> None:
    store = b"".join(b"set k%d %d 0 4\r\n%04d\r\n" % (i, i, i) for i in range(100))
    keys = b" ".join(b"k%d" % (i * 7 % 120) for i in range(120))
    for verb in (b"get ", b"gets ", b"gat 100 ", b"gats 100 "):
        replies = []
        for address in (pool.plain, pool.proxy.address()):
            connection = wire(address)
            assert said(connection, [store]) == b"STORED\r\n" * 100
            reply = said(connection, [verb + keys + b"\r\n"])
            assert reply.endswith(b"\r\nEND\r\n")
            replies.append(UNIQUE.sub(rb"\1 u\r", reply))
        assert replies[0].count(b"VALUE ") == 100
        assert replies[0] == replies[1]


def test_cas_numbers_are_the_nodes(pool: Pool, wire: Callable[..., Wire]) -> None:
    connection = wire(pool.proxy)
    for i in range(20):
        key = b"c%d" % i
        reply = said(connection, [b"set %s 0 0 1\r\nx\r\ngets %s\r\n" % (key, key)])
        unique = reply.split()[5]
        assert said(connection, [b"cas %s 0 0 1 %s\r\ny\r\n" % (key, unique)]) == b"STORED\r\n"
        assert said(connection, [b"cas %s 0 0 1 %s\r\nz\r\n" % (key, unique)]) == b"EXISTS\r\n"


def test_a_refused_line_takes_its_data_with_it(pool: Pool, wire: Callable[..., Wire]) -> None:
    """As memcached has it since 1.6.40; before, the data were commands."""
    connection = wire(pool.proxy)
    lines = [b"set %s 0 0 11" % LONG, b"set a x 0 11", b"set a 0 9223372036854775808 11", b"ms %s 11" % LONG]
    lines += [b"set a 0 0 %s" % length for length in (b"+11", b"00000000011", b"11\t")]
    for line in (*lines, b"ms a 11\t", b"cas a 0 0 11 x"):
        reply = said(connection, [line + b"\r\nflush_all\r\n\r\n"])
        assert reply == b"CLIENT_ERROR bad command line format\r\n"


def test_commands_for_nodes_are_refused(pool: Pool, wire: Callable[..., Wire]) -> None:
    for line in (b"shutdown", b"watch fetchers", b"slabs automove 0", b"lru tune 1 1", b"cache_memlimit 64"):
        reply = said(wire(pool.proxy), [line + b"\r\n"])
        assert reply == REFUSED_HERE


def test_statistics_add_up(pool: Pool, wire: Callable[..., Wire]) -> None:
    connection = wire(pool.proxy)
    said(connection, [b"".join(b"set k%d 0 0 1\r\nx\r\n" % i for i in range(30))])
    nodes = [statistics(said(wire(node.address), [b"stats\r\n"])) for node in pool.fleet.nodes]
    whole = statistics(said(connection, [b"stats\r\n"]))
    assert whole[b"curr_items"] == b"%d" % sum(int(node[b"curr_items"]) for node in nodes)
    assert whole[b"limit_maxbytes"] == b"%d" % (3 * 64 << 20)
    assert whole[b"version"] == nodes[0][b"version"]
    assert whole.keys() == nodes[0].keys()
    settings = statistics(said(connection, [b"stats settings\r\n"]))
    one = statistics(said(wire(pool.plain), [b"stats settings\r\n"]))
    # of each process its own: where it listens, and the age of its oldest item, which grows meanwhile
    own = {name: settings[name] for name in (b"tcpport", b"domain_socket", b"oldest")}
    sums = {name: b"%d" % (3 * int(one[name])) for name in (b"maxbytes", b"maxconns")}
    assert settings == one | own | sums
    for words in (b"settings", b"items", b"slabs", b"sizes", b"conns"):
        assert said(connection, [b"stats %s\r\n" % words]).endswith(b"END\r\n")
    assert said(connection, [b"stats reset\r\n"]) == b"RESET\r\n"
    assert said(connection, [b"stats detail on\r\nstats detail off\r\n"]) == b"OK\r\nOK\r\n"


def test_statistics_whose_answers_do_not_end_shift_no_reply(pool: Pool, wire: Callable[..., Wire]) -> None:
    asker, other = wire(pool.proxy), wire(pool.proxy)
    for kind in (b"sizes_enable", b"sizes_disable", b"cachedump 1 0"):
        assert said(asker, [b"stats %s\r\n" % kind]) == REFUSED_HERE
        for number in range(10):  # on every node
            store = b"set k%d 0 0 1\r\n%d\r\nget k%d\r\n" % (number, number, number)
            assert said(other, [store]) == b"STORED\r\nVALUE k%d 0 1\r\n%d\r\nEND\r\n" % (number, number)


def test_details_by_prefix_add_up(pool: Pool) -> None:
    with Asker(pool.plain) as plain, Asker(pool.proxy.address()) as proxy:
        replies = []
        for asker in (plain, proxy):
            keys = [b"%s:%d" % (prefix, number) for prefix in (b"one", b"other") for number in range(20)]
            answers = [asker.ask(b"stats detail on\r\nstats detail\r\nstats detail x\r\n")]
            answers += [
                asker.ask(b"set %s 0 0 1\r\nx\r\nget %s none\r\ndelete %s\r\n" % (key, key, key))
                for key in keys
            ]
            dump = asker.ask(b"stats detail dump\r\n")
            assert dump.endswith(b"\r\nEND\r\n")
            ours = [line for line in sorted(dump.splitlines()) if line.startswith((b"PREFIX o", b"END"))]
            replies.append((answers, ours, asker.ask(b"stats detail off\r\n")))
        assert b"PREFIX one get 20 hit 20 set 20 del 20" in replies[0][1]
        assert replies[0] == replies[1]


def test_a_key_that_looks_like_replies_shifts_none(pool: Pool, wire: Callable[..., Wire]) -> None:
    """`stats detail dump` prints what stands before a key's colon: by the binary protocol that may be line ends."""
    key = b"a get 1 hit 1 set 1 del 1\r\nEND\r\nVALUE k0 0 1\r\n9\r\nEND\r\nPREFIX b:1"
    store = struct.pack(">BBHBBHIIQII", 0x80, 1, len(key), 8, 0, 0, 9 + len(key), 0, 0, 0, 0) + key + b"x"
    with Asker(pool.proxy.address()) as asker:
        assert asker.ask(b"stats detail on\r\nset k0 0 0 1\r\n0\r\n") == b"OK\r\nSTORED\r\n"
        try:
            for node in pool.fleet.nodes:  # a client that goes past the proxy
                connection = wire(node.address)
                connection.send(store)
                assert connection.read(24)[:2] == b"\x81\x01"
            for _ in range(3):
                said = asker.ask(b"stats detail dump\r\n" + b"get k0\r\n" * 5)
                assert said.endswith(b"VALUE k0 0 1\r\n0\r\nEND\r\n" * 5)
        finally:
            for node in pool.fleet.nodes:
                with Asker(node.address) as direct:
                    direct.ask(b"stats detail off\r\nstats reset\r\n")


def statistics(reply: bytes) -> dict[bytes, bytes]:
    lines = [line.split(b" ", 2) for line in reply.splitlines() if line.startswith(b"STAT ")]
    return {name: value for _, name, value in lines}
