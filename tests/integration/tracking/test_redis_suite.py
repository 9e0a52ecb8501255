"""The cases of Redis' own tests/unit/tracking.tcl, alike at Redis and through the proxy.

Left out is what CONFIG SET tracking-table-max-keys does: the proxy has a bound of its own.
"""

from __future__ import annotations

import pytest

from tests.fixtures.proxy import wait_until
from tests.integration.tracking.conftest import Connect, Place, Tracker

CHANNEL = b"__redis__:invalidate"


def listener(connect: Connect) -> tuple[Tracker, int]:
    """A client in RESP2 that others may redirect to, and its id."""
    client = connect()
    number = client.ask("CLIENT", "ID")
    client.ask("SUBSCRIBE", CHANNEL)
    return client, number


def heard(client: Tracker) -> list[bytes] | None:
    """The keys of the next message."""
    word, channel, keys = client.reply()
    assert (word, channel) == (b"message", CHANNEL)
    return keys  # type: ignore[no-any-return]


def test_another_connection_gets_invalidations(connect: Connect) -> None:
    reader, (told, number) = connect(), listener(connect)
    assert reader.ask("CLIENT", "TRACKING", "on", "REDIRECT", number) == b"OK"
    reader.ask("SET", "a{t}", 1)
    reader.ask("SET", "b{t}", 1)
    reader.ask("GET", "a{t}")
    reader.ask("INCR", "b{t}")  # it was not read
    reader.ask("INCR", "a{t}")
    assert heard(told) == [b"a{t}"]
    assert told.is_silent()
    reader.ask("MGET", *(f"{c}{{t}}" for c in "abcdefg"))
    assert reader.ask("CLIENT", "TRACKING", "off") == b"OK"
    reader.ask("SET", "c{t}", 1)
    assert told.is_silent()


def test_broadcasting(connect: Connect) -> None:
    reader, (told, number) = connect(), listener(connect)
    assert reader.ask("CLIENT", "TRACKING", "on", "BCAST", "REDIRECT", number) == b"OK"
    reader.ask("MSET", "a{t}", 1, "b{t}", 2, "c{t}", 3)
    assert sorted(heard(told) or []) == [b"a{t}", b"b{t}", b"c{t}"]


def test_broadcasting_with_prefixes(connect: Connect) -> None:
    reader, (told, number) = connect(), listener(connect)
    options = ("PREFIX", "a:", "PREFIX", "b:")
    assert reader.ask("CLIENT", "TRACKING", "on", "BCAST", "REDIRECT", number, *options) == b"OK"
    reader.ask("MULTI")
    for key in ("a:1{t}", "a:2{t}", "b:1{t}", "b:2{t}", "c:1{t}"):
        assert reader.ask("INCR", key) == b"QUEUED"
    reader.ask("EXEC")
    keys = sorted((heard(told) or []) + (heard(told) or []))  # a message for each prefix
    assert keys == [b"a:1{t}", b"a:2{t}", b"b:1{t}", b"b:2{t}"]
    assert reader.ask("CLIENT", "TRACKING", "on", "BCAST", "REDIRECT", number, "PREFIX", "c:") == b"OK"
    reader.ask("INCR", "c:1234")
    assert heard(told) == [b"c:1234"]
    assert told.is_silent()


@pytest.mark.parametrize("mode", [(), ("BCAST",)])
def test_who_wants_no_loop_is_not_told_of_what_it_sets(connect: Connect, mode: tuple[str, ...]) -> None:
    reader, writer, (told, number) = connect(), connect(), listener(connect)
    assert reader.ask("CLIENT", "TRACKING", "on", *mode, "REDIRECT", number, "NOLOOP") == b"OK"
    reader.ask("MGET", "otherkey1{t}", "loopkey{t}", "otherkey2{t}")
    writer.ask("SET", "otherkey1{t}", 1)
    assert heard(told) == [b"otherkey1{t}"]
    reader.ask("SET", "loopkey{t}", 1)
    assert told.is_silent()
    writer.ask("SET", "otherkey2{t}", 1)
    assert heard(told) == [b"otherkey2{t}"]


def test_of_what_expires(connect: Connect) -> None:
    reader, (told, number) = connect(), listener(connect)
    assert reader.ask("CLIENT", "TRACKING", "on", "BCAST", "REDIRECT", number, "NOLOOP") == b"OK"
    reader.ask("SET", "mykey", "myval", "px", 1)
    reader.ask("SET", "mykeyotherkey", "myval")
    assert heard(told) == [b"mykey"]


def test_in_resp3_it_is_a_push(connect: Connect) -> None:
    reader, writer = connect(3), connect()
    assert reader.ask("CLIENT", "TRACKING", "on") == b"OK"
    writer.ask("SET", "key1", 1)
    assert reader.ask("GET", "key1") == b"1"
    writer.ask("SET", "key1", 2)
    assert reader.reply() == [b"invalidate", [b"key1"]]
    writer.ask("SET", "key1", 3)
    assert reader.is_silent()  # it was told, and has not read it since


def test_redirection_while_versions_change(connect: Connect) -> None:
    reader, writer, (told, number) = connect(3), connect(), listener(connect)
    assert reader.ask("CLIENT", "TRACKING", "on", "REDIRECT", number) == b"OK"
    writer.ask("SET", "key1", 1)
    reader.ask("GET", "key1")
    writer.ask("SET", "key1", 2)
    assert heard(told) == [b"key1"]
    reader.ask("HELLO", 2)
    reader.ask("GET", "key1")
    reader.ask("HELLO", 3)
    writer.ask("SET", "key1", 3)
    assert heard(told) == [b"key1"]
    reader.ask("GET", "key1")
    writer.ask("SET", "key1", 4)
    assert heard(told) == [b"key1"]


def test_keys_of_scripts_that_read(connect: Connect) -> None:
    reader, writer = connect(3), connect()
    assert reader.ask("CLIENT", "TRACKING", "on") == b"OK"
    writer.ask("MSET", "key1{t}", 1, "key2{t}", 1)
    reader.ask("EVAL", "return redis.call('get', KEYS[1])", 2, "key1{t}", "key2{t}")
    writer.ask("SET", "key2{t}", 2)
    assert reader.reply() == [b"invalidate", [b"key2{t}"]]
    writer.ask("SET", "key1{t}", 2)
    assert reader.reply() == [b"invalidate", [b"key1{t}"]]
    reader.ask("EVAL_RO", "return redis.call('get', KEYS[1])", 1, "key1{t}")
    writer.ask("SET", "key1{t}", 3)
    assert reader.reply() == [b"invalidate", [b"key1{t}"]]


def test_a_redirection_that_is_broken_is_told(connect: Connect) -> None:
    reader, writer, (told, number) = connect(3), connect(), listener(connect)
    assert reader.ask("CLIENT", "TRACKING", "on", "REDIRECT", number) == b"OK"
    writer.ask("SET", "key1", 1)
    reader.ask("GET", "key1")
    assert told.ask("QUIT") == b"OK"
    told.expect_closed()
    told.close()
    wait_until(lambda: f"id={number} " not in str(writer.ask("CLIENT", "LIST")), "it has gone")
    writer.ask("SET", "key1", 2)
    assert reader.reply() == [b"tracking-redir-broken", number]
    flags, redirect = info(reader)[:2]
    assert (flags, redirect) == ({b"on", b"broken_redirect"}, number)
    lines = writer.ask("CLIENT", "LIST").decode().splitlines()
    assert any(" flags=tR " in line and f" redir={number} " in line for line in lines)


def test_several_redirect_to_one(connect: Connect) -> None:
    one, other, writer, (told, number) = connect(3), connect(), connect(), listener(connect)
    for reader in (one, other):
        assert reader.ask("CLIENT", "TRACKING", "on", "REDIRECT", number) == b"OK"
    writer.ask("MSET", "key1{t}", 1, "key2{t}", 1)
    one.ask("GET", "key1{t}")
    other.ask("GET", "key2{t}")
    writer.ask("INCR", "key1{t}")
    assert heard(told) == [b"key1{t}"]
    writer.ask("INCR", "key2{t}")
    assert heard(told) == [b"key2{t}"]


def test_one_key_is_tracked_by_clients_of_both_versions(connect: Connect) -> None:
    one, other, writer, (told, number) = connect(), connect(3), connect(), listener(connect)
    assert one.ask("CLIENT", "TRACKING", "on", "REDIRECT", number) == b"OK"
    assert other.ask("CLIENT", "TRACKING", "on") == b"OK"
    writer.ask("SET", "key1", 1)
    one.ask("GET", "key1")
    other.ask("GET", "key1")
    writer.ask("INCR", "key1")
    assert heard(told) == [b"key1"]
    assert other.reply() == [b"invalidate", [b"key1"]]


def test_opting_in(connect: Connect) -> None:
    reader, writer, (told, number) = connect(), connect(), listener(connect)
    assert reader.ask("CLIENT", "TRACKING", "on", "OPTIN", "REDIRECT", number) == b"OK"
    writer.ask("SET", "key1", 1)
    reader.ask("GET", "key1")
    writer.ask("SET", "key1", 2)
    assert reader.ask("CLIENT", "CACHING", "yes") == b"OK"
    reader.ask("GET", "key2")
    reader.ask("GET", "key3")  # it is for one command
    for key in ("key1", "key3", "key2"):
        writer.ask("SET", key, 3)
    assert heard(told) == [b"key2"]
    assert told.is_silent()


def test_opting_in_for_a_transaction(connect: Connect) -> None:
    reader, writer = connect(3), connect()
    assert reader.ask("CLIENT", "TRACKING", "on", "OPTIN") == b"OK"
    assert reader.ask("CLIENT", "CACHING", "yes") == b"OK"
    assert reader.ask("MULTI") == b"OK"
    assert reader.ask("GET", "a{t}") == b"QUEUED"
    assert reader.ask("GET", "b{t}") == b"QUEUED"
    assert reader.ask("EXEC") == [None, None]
    reader.ask("GET", "c{t}")
    for key in ("c{t}", "a{t}"):
        writer.ask("SET", key, 1)
    assert reader.reply() == [b"invalidate", [b"a{t}"]]
    writer.ask("SET", "b{t}", 1)
    assert reader.reply() == [b"invalidate", [b"b{t}"]]
    assert reader.is_silent()


def test_opting_out(connect: Connect) -> None:
    reader, writer, (told, number) = connect(), connect(), listener(connect)
    assert reader.ask("CLIENT", "TRACKING", "on", "OPTOUT", "REDIRECT", number) == b"OK"
    writer.ask("SET", "key1", 1)
    reader.ask("GET", "key1")
    writer.ask("SET", "key1", 2)
    assert heard(told) == [b"key1"]
    assert reader.ask("CLIENT", "CACHING", "no") == b"OK"
    reader.ask("GET", "key1")
    reader.ask("GET", "key2")
    writer.ask("SET", "key1", 3)
    writer.ask("SET", "key2", 3)
    assert heard(told) == [b"key2"]


def test_redirection_to_a_client_in_resp3(connect: Connect) -> None:
    reader, writer, told = connect(), connect(), connect(3)
    number = told.ask("CLIENT", "ID")
    assert reader.ask("CLIENT", "TRACKING", "on", "REDIRECT", number) == b"OK"
    writer.ask("SET", "key1", 1)
    reader.ask("GET", "key1")
    writer.ask("INCR", "key1")
    assert told.reply() == [b"invalidate", [b"key1"]]


def test_from_default_to_broadcasting(connect: Connect) -> None:
    reader, writer = connect(3), connect()
    assert reader.ask("CLIENT", "TRACKING", "on") == b"OK"
    writer.ask("SET", "key1", 1)
    reader.ask("GET", "key1")
    assert reader.ask("CLIENT", "TRACKING", "off") == b"OK"
    assert reader.ask("CLIENT", "TRACKING", "on", "BCAST") == b"OK"
    writer.ask("INCR", "key1")
    assert reader.reply() == [b"invalidate", [b"key1"]]
    assert reader.is_silent()


def test_prefixes_that_collide(connect: Connect) -> None:
    reader = connect()
    of_one = "Prefixes for a single client must not overlap."
    for prefixes, text in (
        (("FOOBAR", "FOO"), f"ERR Prefix 'FOOBAR' overlaps with another provided prefix 'FOO'. {of_one}"),
        (("FOO", "FOOBAR"), f"ERR Prefix 'FOO' overlaps with another provided prefix 'FOOBAR'. {of_one}"),
        (("FOO", "BAR"), None),
        (("FO",), f"ERR Prefix 'FO' overlaps with an existing prefix 'FOO'. {of_one}"),
        (("BARB",), f"ERR Prefix 'BARB' overlaps with an existing prefix 'BAR'. {of_one}"),
    ):
        options = [word for prefix in prefixes for word in ("PREFIX", prefix)]
        assert reader.ask("CLIENT", "TRACKING", "ON", "BCAST", *options) == (b"OK" if text is None else text)


def test_own_changes_are_told_behind_their_replies(connect: Connect) -> None:
    reader = connect(3)
    assert reader.ask("CLIENT", "TRACKING", "on") == b"OK"
    for _ in range(200):
        reader.ask("HSET", "myhash", "f", 1)
        reader.ask("HGET", "myhash", "f")
        assert reader.ask("HDEL", "myhash", "f") == 1
        assert reader.reply() == [b"invalidate", [b"myhash"]]


def test_what_a_transaction_changes_is_told_behind_its_reply(connect: Connect) -> None:
    reader = connect(3)
    assert reader.ask("CLIENT", "TRACKING", "on") == b"OK"
    reader.ask("MSET", "a{t}", 1, "b{t}", 2)
    reader.ask("GET", "a{t}")
    reader.ask("MULTI")
    reader.ask("INCR", "a{t}")
    reader.ask("GET", "b{t}")
    assert reader.ask("EXEC") == [2, b"2"]
    assert reader.reply() == [b"invalidate", [b"a{t}"]]


def test_who_waited_is_told_of_what_it_moved(connect: Connect) -> None:
    reader, writer = connect(3), connect()
    writer.ask("RPUSH", "list2{t}", "a")
    assert reader.ask("CLIENT", "TRACKING", "on") == b"OK"
    reader.ask("LRANGE", "list2{t}", 0, -1)
    reader.send_command("BLMOVE", "list1{t}", "list2{t}", "left", "left", 0)
    wait_until(lambda: "cmd=blmove" in str(writer.ask("CLIENT", "LIST")), "it waits")
    writer.ask("RPUSH", "list1{t}", "foo")
    told = [reader.reply(), reader.reply()]  # the proxy may tell of the change first
    assert sorted(told, key=str) == sorted([b"foo", [b"invalidate", [b"list2{t}"]]], key=str)


@pytest.mark.parametrize("command", [("FLUSHALL",), ("FLUSHDB",), ("FLUSHALL", "ASYNC")])
def test_of_a_flush(connect: Connect, command: tuple[str, ...]) -> None:
    reader, other, writer, (told, number) = connect(), connect(3), connect(), listener(connect)
    assert reader.ask("CLIENT", "TRACKING", "on", "REDIRECT", number) == b"OK"
    assert other.ask("CLIENT", "TRACKING", "on", "BCAST", "PREFIX", "x") == b"OK"
    reader.ask("GET", "key1")
    assert writer.ask(*command) == b"OK"
    assert heard(told) is None
    assert other.reply() == [b"invalidate", None]
    assert told.is_silent()
    assert other.is_silent()


def test_of_its_own_flush(connect: Connect) -> None:
    reader = connect(3)
    assert reader.ask("CLIENT", "TRACKING", "on") == b"OK"
    reader.ask("SET", "a{t}", 1)
    reader.ask("GET", "a{t}")
    assert reader.ask("FLUSHALL") == b"OK"
    assert reader.reply() == [b"invalidate", None]
    assert reader.is_silent()


def fields(client: Tracker, section: str) -> dict[str, str]:
    lines = client.ask("INFO", section).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def test_info(connect: Connect, place: Place) -> None:
    reader, other, writer = connect(), connect(), connect()
    _, number = listener(connect)
    assert reader.ask("CLIENT", "TRACKING", "on", "REDIRECT", number) == b"OK"
    reader.ask("GET", "key1")
    reader.ask("GET", "key2")
    assert other.ask("CLIENT", "TRACKING", "on", "BCAST", "PREFIX", "prefix:") == b"OK"
    writer.ask("SET", "prefix:key1", 1)
    wanted = {"tracking_total_items": "2", "tracking_total_keys": "2", "tracking_total_prefixes": "1"}
    wait_until(lambda: wanted.items() <= fields(writer, "stats").items(), "keys are counted")
    assert fields(writer, "clients")["tracking_clients"] == "2"


def info(client: Tracker) -> tuple[set[bytes], int, list[bytes]]:
    """What TRACKINGINFO says, in either version."""
    reply = client.ask("CLIENT", "TRACKINGINFO")
    told = dict(zip(reply[::2], reply[1::2], strict=True)) if isinstance(reply, list) else reply
    assert list(told) == [b"flags", b"redirect", b"prefixes"]
    return set(told[b"flags"]), told[b"redirect"], told[b"prefixes"]


@pytest.mark.parametrize("resp", [2, 3])
def test_trackinginfo_and_getredir(connect: Connect, resp: int) -> None:
    client, (_, number) = connect(resp), listener(connect)
    assert info(client) == ({b"off"}, -1, [])
    assert client.ask("CLIENT", "GETREDIR") == -1
    for options, flags, redirect in (
        ((), {b"on"}, 0),
        (("REDIRECT", number, "noloop"), {b"on", b"noloop"}, number),
    ):
        assert client.ask("CLIENT", "TRACKING", "on", *options) == b"OK"
        assert info(client) == (flags, redirect, [])
        assert client.ask("CLIENT", "GETREDIR") == redirect
    for option, word, flag in (("optin", "yes", b"caching-yes"), ("optout", "no", b"caching-no")):
        assert client.ask("CLIENT", "TRACKING", "off") == b"OK"
        assert client.ask("CLIENT", "TRACKING", "on", option) == b"OK"
        assert info(client) == ({b"on", option.encode()}, 0, [])
        assert client.ask("CLIENT", "CACHING", word) == b"OK"
        assert info(client) == ({b"on", option.encode(), flag}, 0, [])
        client.ask("PING")
        assert info(client) == ({b"on", option.encode()}, 0, [])
    assert client.ask("CLIENT", "TRACKING", "off") == b"OK"
    assert client.ask("CLIENT", "TRACKING", "on", "BCAST", "PREFIX", "foo", "PREFIX", "bar") == b"OK"
    assert info(client) == ({b"on", b"bcast"}, 0, [b"bar", b"foo"])
    assert client.ask("CLIENT", "TRACKING", "on", "BCAST", "PREFIX", "a") == b"OK"
    assert info(client) == ({b"on", b"bcast"}, 0, [b"a", b"bar", b"foo"])
    line = client.ask("CLIENT", "INFO").decode() if resp == 2 else str(client.ask("CLIENT", "INFO"))
    assert " flags=tB " in line
    assert " redir=0 " in line
    assert client.ask("RESET") == b"RESET"
    assert info(client) == ({b"off"}, -1, [])


def test_what_is_wrong_is_said_as_redis_does(connect: Connect) -> None:
    client = connect()
    other_broadcast = (
        "ERR You can't switch BCAST mode on/off before disabling tracking for this client, "
        "and then re-enabling it with a different mode."
    )
    other_option = other_broadcast.replace("BCAST mode on/off", "OPTIN/OPTOUT mode")
    not_optional = (
        "ERR CLIENT CACHING can be called only when the client is in tracking mode "
        "with OPTIN or OPTOUT mode enabled"
    )
    no_such = "ERR The client ID you want redirect to does not exist"
    for words, answer in (
        ("CACHING yes", not_optional),
        ("TRACKING", "ERR wrong number of arguments for 'client|tracking' command"),
        ("TRACKING maybe", "ERR syntax error"),
        ("TRACKING ON NOPE", "ERR syntax error"),
        ("TRACKING OFF NOPE", "ERR syntax error"),
        ("TRACKING ON REDIRECT", "ERR syntax error"),
        ("TRACKING ON PREFIX", "ERR syntax error"),
        ("TRACKING ON REDIRECT abc", "ERR value is not an integer or out of range"),
        ("TRACKING ON REDIRECT 99999999", no_such),
        ("TRACKING ON REDIRECT 0", no_such),
        ("TRACKING ON REDIRECT -3", no_such),
        ("TRACKING ON PREFIX a", "ERR PREFIX option requires BCAST mode to be enabled"),
        ("TRACKING ON OPTIN OPTOUT", "ERR You can't specify both OPTIN mode and OPTOUT mode"),
        ("TRACKING ON BCAST OPTIN", "ERR OPTIN and OPTOUT are not compatible with BCAST"),
        ("TRACKING ON", b"OK"),
        ("TRACKING ON BCAST", other_broadcast),
        ("TRACKING ON OPTIN", b"OK"),
        ("TRACKING ON OPTOUT", other_option),
        ("CACHING no", "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."),
        ("CACHING maybe", "ERR syntax error"),
        ("TRACKING OFF", b"OK"),
        ("TRACKING OFF", b"OK"),
        ("TRACKING ON OPTOUT", b"OK"),
        ("CACHING yes", "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."),
    ):  # fmt: skip
        assert client.ask("CLIENT", *words.split()) == answer, words
    number = client.ask("CLIENT", "ID")
    twice = ("REDIRECT", number, "REDIRECT", number)
    only = "ERR A client can only redirect to a single other client"
    assert client.ask("CLIENT", "TRACKING", "ON", *twice) == only
