"""Access rules mean what they mean to an engine: users are made by the same modifiers, and try the same.

ACL DRYRUN carries nothing out, so requests may be any words.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from shardproxy.commands.table import Table
from shardproxy.dataplane._native import Acl
from shardproxy.fleet import RedisNode
from tests.fixtures.clients import ReplyError, Wire

USER = "someone"
ORDERED_SINCE = (7, 2)
USERS = 40  # of each seed
CHANGES = 4  # of each user
REQUESTS = 60  # after each change

HASH = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of foo


def words_of(*lines: str) -> list[str]:
    return " ".join(lines).split(" ")


KEYS = ["a", "ab", "app:1", "b", "bx", "c*", "{t}x", "*", ""]
CHANNELS = ["news", "news.eu", "n?ws", "news.*", "*", "x"]
OPTIONS = words_of(
    "GET get SET OVERFLOW INCRBY STORE storedist BY LIMIT STREAMS streams BLOCK COUNT GROUP NOACK",
    "KEYS AUTH AUTH2 COPY LEFT MIN ASC",
)
NUMBERS = words_of("0 1 2 3 9 -1 +1 01 2x x")
RULES = words_of(
    "~a* ~ab ~app:* %R~a* %W~a* %r~b? %wR~{t}* ~[a-c]* ~c\\* %R~* ~* allkeys resetkeys",
    "&news &news.* &n[^x]* &n\\?ws &* allchannels resetchannels",
    "ALLCOMMANDS nocommands +@all -@all +select|0 +SELECT|a +debug|get +set|a",
)
FLAGS = words_of(
    f"on off ON nopass resetpass >foo >bar <bar #{HASH} !{HASH} reset clearselectors sanitize-payload",
    "skip-sanitize-payload",
)
WRONG = words_of(
    "+nothing -nothing +@nothing -@ -select|0 +config| +config|x +config|get|x +x| -x|y %X~a %RR~a",
    f"what #12 !12 <none #{HASH.upper()} (what) (on) (~a ) +get) @read (+get|",
)
WRONG += ["~a b", "&a b", "~a\tb", "%R a", "(~* ~a)", "(&* &a)"]
HARD = words_of(  # commands whose keys or channels are found in a way of their own
    "set bitfield sort sort_ro migrate georadius georadiusbymember xread xreadgroup eval zunionstore",
    "zunion lmpop publish spublish subscribe psubscribe ssubscribe punsubscribe select rename bitop",
    "pfmerge auth nothing config",
)


@dataclass
class Oracle:
    """An engine, and our rules over the commands that it has."""

    wire: Wire
    acl: Acl
    table: Table
    is_ordered: bool
    names: list[str]

    def all(self, *requests: Sequence[str]) -> list[Any]:
        for request in requests:
            self.wire.send_command(*request)
        return [self.wire.reply() for _ in requests]


@pytest.fixture
def oracle(session_plain: RedisNode, wire: Callable[..., Wire]) -> Iterator[Oracle]:
    engine = wire(session_plain.address)
    info = engine.ask("INFO", "server").decode()
    version = next(line for line in info.splitlines() if line.startswith("redis_version:")).split(":")[1]
    has = {name.decode() for name in engine.ask("COMMAND", "LIST")}
    entries = json.loads(Table.load().encode())["commands"]
    entries = [entry for entry in entries if entry["name"] in has]
    for entry in entries:
        entry["subcommands"] = [sub for sub in entry["subcommands"] if sub["name"] in has]
    text = json.dumps({"engine": "redis", "version": version, "commands": entries})
    table = Table.parse(text)
    is_ordered = tuple(map(int, version.split(".")[:2])) >= ORDERED_SINCE
    names = [command.name for command in table.all()]
    yield Oracle(engine, Acl(text.encode()), table, is_ordered, names)
    engine.ask("ACL", "DELUSER", USER)


def modifiers(dice: random.Random, oracle: Oracle, wrong: float) -> list[str]:
    def rules(most: int) -> Iterator[str]:
        for _ in range(dice.randint(0, most)):
            kind = dice.random()
            if kind < 0.3:
                yield dice.choice("+-") + dice.choice(oracle.names)
            elif kind < 0.5:
                yield dice.choice("+-") + "@" + dice.choice(oracle.acl.categories())
            else:
                yield dice.choice(RULES)

    made: list[str] = []
    for rule in rules(6):
        kind = dice.random()
        if kind < wrong:
            # a 7.0 forgets the first of two parentheses
            made.append(dice.choice([word for word in WRONG if word[0] != "(" or word[-1] == ")"]))
        elif kind < 0.15:
            made.append(dice.choice([*FLAGS, ""]))
        elif kind < 0.25:
            selector = f"({' '.join(rules(5))})"
            made += selector.split(" ") if dice.random() < 0.3 else [selector]
        else:
            made.append(rule)
    return made


def request(dice: random.Random, oracle: Oracle) -> list[str]:
    while is_misread(words := any_request(dice, oracle)):
        pass
    return words


def is_misread(words: Sequence[str]) -> bool:
    """Whether an engine looks past a key that it would use, and so allows what we do not."""
    lower = [word.lower() for word in words]
    match lower[0]:
        case "sort":  # it takes the key behind STORE for an option
            return any(a == "store" and b in ("get", "by", "limit", "store") for a, b in pairwise(lower))
        case "georadius" | "georadiusbymember":  # of two destinations it sees the first, and uses the last
            return sum(word in ("store", "storedist") for word in lower) > 1
        case "xread" | "xreadgroup":  # a name may be STREAMS; and it may stand where there should be a GROUP
            return lower.count("streams") > 1 or (lower[0] == "xreadgroup" and "streams" in lower[:4])
        case "pfmerge":  # with no source it sees no destination either
            return len(words) == 2
    return False


def any_request(dice: random.Random, oracle: Oracle) -> list[str]:
    name = dice.choice(oracle.names)
    if dice.random() < 0.3:
        name = dice.choice(HARD)
    command = oracle.table.get(name)
    words = name.split("|")
    least = max(0, abs(command.arity) - len(words)) if command else 0
    most = least + (5 if dice.random() < 0.7 else 12) if command is None or command.arity < 0 else least
    if dice.random() < 0.02:
        least = 0
    sources = [KEYS, OPTIONS, NUMBERS, CHANNELS] if "sub" not in name and "pub" not in name else [CHANNELS]
    weights = [4, 2, 2, 0][: len(sources)] if len(sources) > 1 else [1]
    count = dice.randint(least, most)
    return words + [dice.choice(dice.choices(sources, weights)[0]) for _ in range(count)]


def told(denied: tuple[str, bytes] | None, is_ordered: bool) -> bytes:
    """In the words of ACL DRYRUN."""
    if denied is None:
        return b"OK"
    why, name = denied
    who = f"User {USER}" if is_ordered else "This user"
    what = f"run the '{name.decode()}' command" if why == "command" else f"access the '{name.decode()}' {why}"
    return f"{who} has no permissions to {what}".encode()


def tried(oracle: Oracle, rules: str, words: Sequence[str]) -> bytes | ReplyError:
    try:
        return told(oracle.acl.dryrun(rules, [word.encode() for word in words]), oracle.is_ordered)
    except ValueError as e:
        return ReplyError(f"ERR {e}")


def changed(oracle: Oracle, rules: str, words: Sequence[str]) -> str | ReplyError:
    try:
        return oracle.acl.apply(rules, [word.encode() for word in words])
    except ValueError as e:
        return ReplyError(f"ERR {e}")


def as_dict(reply: list[Any]) -> dict[str, Any]:
    values = dict(zip((name.decode() for name in reply[::2]), reply[1::2], strict=True))
    if "selectors" in values:
        values["selectors"] = [as_dict(selector) for selector in values["selectors"]]
    return values


def unordered(rules: str, is_ordered: bool) -> tuple[list[str], list[str]]:
    """Rules about commands: a 7.0 tells single commands in the order of a hash table."""
    words = rules.split(" ")
    if is_ordered:
        return words, []
    return [word for word in words if "@" in word], sorted(word for word in words if "@" not in word)


def shown(user: dict[str, Any], is_ordered: bool) -> dict[str, Any]:
    """What GETUSER and `describe` say, such that it may be compared."""

    def text(value: str | bytes) -> str:
        return value.decode() if isinstance(value, bytes) else value

    parts: dict[str, Any] = {name: text(user[name]) for name in ("keys", "channels")}
    parts["commands"] = unordered(text(user["commands"]), is_ordered)
    if "selectors" in user:
        parts["selectors"] = [shown(selector, is_ordered) for selector in user["selectors"]]
        parts |= {name: [text(value) for value in user[name]] for name in ("flags", "passwords")}
    return parts


def check_description(oracle: Oracle, rules: str) -> None:
    ours = oracle.acl.describe(rules, oracle.is_ordered)
    user, users = oracle.all(("ACL", "GETUSER", USER), ("ACL", "LIST"))
    assert shown(ours, oracle.is_ordered) == shown(as_dict(user), oracle.is_ordered)
    line = next(line.decode() for line in users if line.startswith(f"user {USER} ".encode()))
    words, expected = (sorted(re.split("[ ()]", text)) for text in (f"user {USER} {ours['line']}", line))
    assert words == expected


def check_requests(oracle: Oracle, rules: str, requests: Iterable[list[str]]) -> None:
    requests = list(requests)
    replies = oracle.all(*(("ACL", "DRYRUN", USER, *words) for words in requests))
    for words, reply in zip(requests, replies, strict=True):
        assert tried(oracle, rules, words) == reply, (rules, words)


@pytest.mark.parametrize("seed", range(4))
def test_users_may_what_an_engine_lets_them(oracle: Oracle, seed: int) -> None:
    dice = random.Random(seed)
    refused = 0
    for _ in range(USERS):
        oracle.wire.ask("ACL", "DELUSER", USER)
        oracle.wire.ask("ACL", "SETUSER", USER)
        rules = "sanitize-payload" if oracle.is_ordered else ""
        for _ in range(CHANGES):
            words = modifiers(dice, oracle, wrong=0.05)
            ours, reply = changed(oracle, rules, words), oracle.wire.ask("ACL", "SETUSER", USER, *words)
            if isinstance(ours, ReplyError):
                assert ours == reply, (rules, words)
                refused += 1
                continue
            assert reply == b"OK", (rules, words)
            rules = ours
            check_description(oracle, rules)
            check_requests(oracle, rules, (request(dice, oracle) for _ in range(REQUESTS)))
    assert refused > USERS // 8


def test_an_engine_refuses_the_same_rules(oracle: Oracle) -> None:
    for wrong in WRONG:
        for before in ([], ["on", "~*", "&*", "+@all"]):
            oracle.all(("ACL", "DELUSER", USER), ("ACL", "SETUSER", USER, *before))
            reply = oracle.wire.ask("ACL", "SETUSER", USER, *before, wrong)
            assert isinstance(reply, ReplyError), wrong
            assert changed(oracle, " ".join(before), [wrong]) == reply


def test_categories_are_an_engines(oracle: Oracle) -> None:
    assert [name.decode() for name in oracle.wire.ask("ACL", "CAT")] == oracle.acl.categories()
    for category in oracle.acl.categories():
        ours = oracle.acl.commands(category)
        assert ours is not None
        theirs = {name.decode() for name in oracle.wire.ask("ACL", "CAT", category)}
        assert theirs & set(oracle.names) == set(ours), category  # a newer one has more commands
    assert oracle.acl.commands("nothing") is None
