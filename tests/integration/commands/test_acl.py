"""ACL commands answer of the proxy's users what an engine answers of its own, byte for byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shardproxy.access.log import AclLog, AclLogs
from shardproxy.config import Config, parse_config
from shardproxy.dataplane._native import AccessEvent
from shardproxy.fleet import Fleet, RedisNode
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.memory import MemoryNotes
from shardproxy.store.notes import Note, NoteKey
from shardproxy.topology.reload import Clusters, ServeError
from shardproxy.topology.settings import settings_read
from shardproxy.topology.user_changes import Changes, changes_decode
from shardproxy.topology.users import UserBook
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Incomplete, Reader
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import CLUSTER, Desk, ask_engine, client_row, open_desk

TEXT = """\
clusters:
  main:
    engine: redis
    endpoints: {configuration: 127.0.0.1:7000}
    shards: [{nodes: ["127.0.0.1:6379"]}]
"""


class Keeper(MemoryNotes):
    """Where changes are kept, and what is served."""

    def __init__(self, begun: Mapping[NoteKey, Note] | None = None) -> None:
        super().__init__(begun)
        self.served: list[Mapping[str, Any]] = []
        self.is_broken = False
        self.is_refused = False

    @property
    def kept(self) -> dict[str, Changes]:
        return {key.cluster: changes_decode(note.value) for key, note in self.notes.items()}

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        if self.is_broken:
            raise StoreUnavailableError("disk full")
        return await super().note(key, value, expected=expected)

    async def serve(self, clusters: Clusters, reason: str) -> None:
        if self.is_refused:
            raise ServeError(CLUSTER, ValueError("no"))
        self.served.append({user.name: user for user in clusters[CLUSTER].users or ()})

    async def reread(self, forget: str) -> None:
        raise NotImplementedError


async def book_of(keeper: Keeper, config: Config | None = None) -> UserBook:
    book = UserBook(keeper, keeper.serve, keeper.reread)
    config = config or parse_config(TEXT)
    settings = settings_read(config, "7.0.15")
    book.laid_over(settings)
    await book.take(config, settings)
    return book


@asynccontextmanager
async def desk_of(fleet: Fleet, keeper: Keeper | None = None) -> AsyncIterator[Desk]:
    async with open_desk(fleet, users=await book_of(keeper or Keeper())) as desk:
        yield desk


@pytest.fixture(scope="module")
def own_fleet(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=1, replicas=0)


@pytest.fixture
def engine(own_fleet: Fleet) -> RedisNode:
    """With the users that one has from the start."""
    node = own_fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    node.ask("ACL", "DELUSER", "a", "b")
    node.ask("ACL", "SETUSER", "default", "-@all", "resetkeys", "~*", "resetchannels", "&*", "+@all")
    return node


def value_of(data: bytes) -> Reply:
    reader = Reader()
    reader.feed(data)
    value = reader.next()
    assert not isinstance(value, Incomplete)
    return value


def in_order(data: bytes) -> Reply:
    """The reply, the words of each text sorted: the order of commands changes with an engine's hash seed."""
    return sorted_words(value_of(data))


def sorted_words(reply: Reply) -> Reply:
    if isinstance(reply, bytes):
        return b" ".join(sorted(reply.split()))
    if isinstance(reply, list):
        return [sorted_words(one) for one in reply]
    return {key: sorted_words(one) for key, one in reply.items()} if isinstance(reply, dict) else reply


LOOK = ["GETUSER a", "LIST", "USERS", "DRYRUN a get k", "DRYRUN a set k v", "DRYRUN a get app:k"]
LOOK += [
    "DRYRUN a publish news.x m",
    "DRYRUN a config get x",
    "DRYRUN a get",
    "DRYRUN a nope",
    "DRYRUN b get a",
]
HASH = "5" * 64

# What is done, one after the other, with an engine and with us.
SCRIPTS: dict[str, list[str]] = {
    "new": ["SETUSER a"],
    "on": ["SETUSER a on", "SETUSER a off"],
    "passwords": ["SETUSER a >x >y", "SETUSER a <x", "SETUSER a <x", f"SETUSER a #{HASH}"],
    "hashes": [f"SETUSER a #{HASH}", f"SETUSER a !{HASH}", f"SETUSER a !{HASH}"],
    "nopass": ["SETUSER a >x", "SETUSER a nopass", "SETUSER a resetpass", "SETUSER a nopass >y"],
    "bad hash": ["SETUSER a #12", "SETUSER a !12", f"SETUSER a #{'Z' * 64}"],
    "commands": ["SETUSER a on +get +set", "SETUSER a -set", "SETUSER a +@read -keys +config|get"],
    "all": ["SETUSER a on ~* &* +@all", "SETUSER a -@dangerous", "SETUSER a allcommands nocommands"],
    "keys": ["SETUSER a ~app:* %R~ro:* %W~wo:* %RW~rw:* +@all", "SETUSER a resetkeys", "SETUSER a allkeys"],
    "channels": ["SETUSER a &news.* +publish ~*", "SETUSER a resetchannels", "SETUSER a allchannels"],
    "selectors": ["SETUSER a ~a:* +get (~k +set) (+get ~app:*)", "SETUSER a clearselectors"],
    "selector in words": ["SETUSER a ( ~k +set )", "SETUSER a (~k +set"],
    "reset": ["SETUSER a on >x ~* &* +@all", "SETUSER a reset"],
    "half wrong": ["SETUSER a on +get", "SETUSER a +set +nope"],
    "wrong": ["SETUSER a +nope", "SETUSER a +@nope", "SETUSER a nope", "SETUSER a ~*  ~x", "SETUSER a &* &x"],
    "wrong sub": ["SETUSER a +config|nope", "SETUSER a -config|get|x", "SETUSER a +config|get|x"],
    "first argument": ["SETUSER a ~* +select|0", "SETUSER a -select"],
    "sanitize": ["SETUSER a skip-sanitize-payload", "SETUSER a sanitize-payload"],
    "delete": ["SETUSER a on", "DELUSER a b", "DELUSER a", "DELUSER default", "DELUSER a default"],
    "default": ["SETUSER default -@all +acl +auth", "SETUSER default resetkeys", "SETUSER default +@all"],
    "two": ["SETUSER b on ~b +@all", "SETUSER a on"],
    "arguments": ["SETUSER", "DELUSER", "GETUSER", "GETUSER a b", "USERS x", "LIST x", "CAT a b", "LOG a b"],
    "renamed": ["SETUSER a allkeys +@all -@all +get", "SETUSER a +GET +Config|GET"],
}  # fmt: skip


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("script", SCRIPTS)
async def test_users_become_what_they_become_in_an_engine(
    fleet: Fleet, engine: RedisNode, script: str, resp: int
) -> None:
    async with desk_of(fleet) as desk:
        for step in SCRIPTS[script]:
            for line in (step, *LOOK):
                words = ("ACL", *line.split())
                ours, theirs = await desk.ask(*words, resp=resp), await ask_engine(engine, *words, resp=resp)
                assert ours == theirs or in_order(ours) == in_order(theirs), (step, line)


@pytest.mark.parametrize("name", ["a b", "a\0b", ""])
async def test_names_are_those_that_an_engine_takes(fleet: Fleet, engine: RedisNode, name: str) -> None:
    async with desk_of(fleet) as desk:
        ours, theirs = (
            await desk.ask("ACL", "SETUSER", name),
            await ask_engine(engine, "ACL", "SETUSER", name),
        )
        if name:
            assert ours == theirs
        else:  # an engine takes a user without a name
            assert ours.startswith(b"-ERR Usernames")


async def test_text_that_is_none_is_refused(fleet: Fleet) -> None:
    async with desk_of(fleet) as desk:
        assert (await desk.ask("ACL", "SETUSER", b"\xff")).startswith(b"-ERR Usernames must be UTF-8")
        assert (await desk.ask("ACL", "SETUSER", "a", b"~\xff")).startswith(
            b"-ERR Error in ACL SETUSER modifier"
        )


async def test_categories_are_the_engines(fleet: Fleet, engine: RedisNode) -> None:
    async with desk_of(fleet) as desk:
        categories = value_of(await desk.ask("ACL", "CAT"))
        assert categories == value_of(await ask_engine(engine, "ACL", "CAT"))
        assert isinstance(categories, list)
        for category in categories:
            assert isinstance(category, bytes)
            ours = value_of(await desk.ask("ACL", "CAT", category))
            theirs = value_of(await ask_engine(engine, "ACL", "CAT", category))
            assert isinstance(ours, list)
            assert isinstance(theirs, list)
            extras = {b"client|setinfo", b"client|no-touch"}  # of newer engines, and the proxy answers them
            assert set(map(bytes, ours)) - extras == set(map(bytes, theirs)), category


async def test_a_change_is_served_and_kept_before_it_is_acknowledged(fleet: Fleet) -> None:
    keeper = Keeper()
    async with desk_of(fleet, keeper) as desk:
        assert await desk.ask("ACL", "SETUSER", "a", "on", ">x", "~k", "+get") == b"+OK\r\n"
        assert keeper.served[-1]["a"].rules == "~k resetchannels -@all +get"
        assert keeper.served[-1]["default"].is_nopass
        assert await desk.ask("ACL", "SETUSER", "b") == b"+OK\r\n"
        assert await desk.ask("ACL", "DELUSER", "b") == b":1\r\n"
        before = await desk.ask("ACL", "LIST")
    async with desk_of(fleet, keeper) as desk:
        assert await desk.ask("ACL", "LIST") == before, "as after a restart"
    assert set(keeper.kept[CLUSTER]) == {"a"}, "what makes no difference is not kept"


async def test_what_cannot_be_kept_or_served_has_not_happened(fleet: Fleet) -> None:
    keeper = Keeper()
    async with desk_of(fleet, keeper) as desk:
        before = await desk.ask("ACL", "LIST")
        keeper.is_broken = True
        assert (await desk.ask("ACL", "SETUSER", "a")).startswith(
            b"-ERR the change cannot be kept: disk full"
        )
        keeper.is_broken, keeper.is_refused = False, True
        assert (await desk.ask("ACL", "SETUSER", "a")).startswith(b"-ERR cluster main: no")
        keeper.is_refused = False
        assert await desk.ask("ACL", "LIST") == before
        assert await desk.ask("ACL", "SETUSER", "b") == b"+OK\r\n"
    assert set(keeper.kept[CLUSTER]) == {"b"}


async def test_there_is_no_file_to_save_to(fleet: Fleet, engine: RedisNode) -> None:
    async with desk_of(fleet) as desk:
        for sub in ("SAVE", "LOAD"):
            theirs = await ask_engine(engine, "ACL", sub)
            sentence = b"-ERR This Redis instance is not configured to use an ACL file"
            assert theirs.startswith(sentence)
            assert (await desk.ask("ACL", sub)).startswith(sentence)


async def test_clients_are_found_by_their_users(fleet: Fleet) -> None:
    async with desk_of(fleet) as desk:
        desk.connected = [client_row(1, user="a"), client_row(2, user="default"), client_row(3, user="a")]
        assert b"user=a " in await desk.ask("CLIENT", "LIST")
        assert await desk.ask("CLIENT", "KILL", "USER", "a") == b"-ERR No such user 'a'\r\n"
        await desk.ask("ACL", "SETUSER", "a")
        assert await desk.ask("CLIENT", "KILL", "USER", "a") == b":1\r\n", "but for whoever asks"
        assert desk.killed == [3]


# --- ACL LOG ---


def event(
    kind: str = "denied", why: str = "command", thing: bytes = b"get", user: str = "a", **more: Any
) -> AccessEvent:
    context = more.get("context", "toplevel")
    return AccessEvent(
        CLUSTER, "configuration", kind, more.get("client", 7), "10.0.0.7:5000", user, why, thing, context
    )


def test_equal_refusals_are_counted_together() -> None:
    log = AclLog()
    log.note(event(), 100.0)
    log.note(event(thing=b"set"), 110.0)
    log.note(event(client=8), 159.0)
    log.note(event(context="multi"), 160.0)
    assert [(e.id, e.what, e.context, e.count) for e in log.entries] == [
        (2, b"get", "multi", 1),
        (0, b"get", "toplevel", 2),
        (1, b"set", "toplevel", 1),
    ]
    assert (log.entries[1].created, log.entries[1].updated, log.entries[1].client_id) == (100.0, 159.0, 8)
    log.note(event(), 219.1)
    assert log.entries[0].id == 3, "too long after it"
    log.reset()
    assert not log.entries


def test_the_log_is_bounded_and_has_refusals_alone() -> None:
    log = AclLog()
    for kind, why in (("login", ""), ("session_ended", ""), ("connection_refused", ""), ("denied", "auth")):
        log.note(event(kind, why), 1.0)
    assert not log.entries
    for number in range(200):
        log.note(event(thing=b"%d" % number), 1.0)
    assert [entry.what for entry in log.entries[:2]] == [b"199", b"198"]
    assert len(log.entries) == 128


async def test_the_log_is_shown_as_an_engine_does(fleet: Fleet, engine: RedisNode) -> None:
    logs = AclLogs()
    async with open_desk(fleet, refusals=logs) as desk:
        assert await desk.ask("ACL", "LOG") == b"*0\r\n"
        logs.note(event(), 1.0)
        logs.note(event("login_refused", "password", b"", "bob"), 2.0)
        desk.connected = [client_row(7, name=b"shop")]
        entries = value_of(await desk.ask("ACL", "LOG", resp=3))
        assert isinstance(entries, list)
        first, second = entries
        assert isinstance(first, dict)
        assert isinstance(second, dict)
        assert (first[b"reason"], first[b"object"], first[b"username"]) == (b"auth", b"AUTH", b"bob")
        assert (second[b"reason"], second[b"object"], second[b"username"]) == (b"command", b"get", b"a")
        assert b"addr=10.0.0.7:5000 " in second[b"client-info"]
        assert b" name=shop " in second[b"client-info"]
        assert b" user=a " in second[b"client-info"]
        engine.ask("ACL", "LOG", "RESET")
        assert (await ask_engine(engine, "AUTH", "nobody", "wrong")).startswith(b"-WRONGPASS")
        logged = value_of(await ask_engine(engine, "ACL", "LOG", resp=3))
        assert isinstance(logged, list)
        theirs = logged[0]
        assert isinstance(theirs, dict)
        assert list(theirs) == list(first)[: len(theirs)], "newer engines have more behind them"
        assert await desk.ask("ACL", "LOG", 1) != await desk.ask("ACL", "LOG", 2)
        assert await desk.ask("ACL", "LOG", "reset") == b"+OK\r\n"
        assert await desk.ask("ACL", "LOG") == b"*0\r\n"
