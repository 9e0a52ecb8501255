"""What a write asks for, key by key. Pure; the commands are those whose outcome is one string or one hash."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shardproxy.caching.leases import MAX_WORDS


class Base(enum.Enum):
    """What a command goes by beside its arguments."""

    NONE = "none"  # nothing: it replaces what was there
    COPY = "copy"  # the value before it


class Join(enum.Enum):
    """What a client hears of several keys."""

    ONLY = "only"  # there is one
    OK = "ok"
    SUM = "sum"


@dataclass(frozen=True, slots=True)
class KeyWrite:
    """One key's part: a command whose second word is the key."""

    key: bytes
    words: tuple[bytes, ...]
    base: Base
    deletes: bool = False
    only_new: bool = False  # where there is something it changes nothing
    is_plain: bool = False  # it concerns how long a value is kept, which no database has


@dataclass(frozen=True, slots=True)
class Write:
    """A request, its keys in their order."""

    parts: tuple[KeyWrite, ...]
    join: Join = Join.ONLY


class NotSupportedError(Exception):
    """Why the request is refused: an error text."""


REPLACE = frozenset({"setex", "psetex"})
CHANGE = frozenset(
    [
        "append",
        "decr",
        "decrby",
        "getdel",
        "getset",
        "hdel",
        "hincrby",
        "hincrbyfloat",
        "hmset",
        "hset",
        "hsetnx",
        "incr",
        "incrby",
        "incrbyfloat",
        "setbit",
        "setnx",
        "setrange",
    ]
)
ONLY_NEW = frozenset({"setnx", "hsetnx"})
LIVES = frozenset({"expire", "expireat", "persist", "pexpire", "pexpireat"})
READS = frozenset(
    [
        "get",
        "mget",
        "getrange",
        "substr",
        "strlen",
        "getbit",
        "bitcount",
        "bitpos",
        "hget",
        "hgetall",
        "hmget",
        "hkeys",
        "hvals",
        "hlen",
        "hexists",
        "hstrlen",
        "hrandfield",
        "hscan",
        "exists",
        "ttl",
        "pttl",
        "expiretime",
        "pexpiretime",
        "type",
        "dump",
        "touch",
        "getex",
        "lrange",
        "llen",
        "lindex",
        "lpos",
        "smembers",
        "scard",
        "sismember",
        "smismember",
        "srandmember",
        "sscan",
        "zrange",
        "zcard",
        "zscore",
        "zmscore",
        "zrank",
        "zrevrank",
        "zcount",
        "zrangebyscore",
        "zrevrange",
        "zrevrangebyscore",
        "zrangebylex",
        "zrevrangebylex",
        "zlexcount",
        "zrandmember",
        "zscan",
    ]
)
# Of a key that is there they find something, whatever it is.
WHOLE = frozenset(
    [
        "exists",
        "get",
        "getex",
        "hgetall",
        "hkeys",
        "hlen",
        "hvals",
        "llen",
        "mget",
        "scard",
        "smembers",
        "zcard",
    ]
)
SET_CHANGES = frozenset({b"nx", b"xx", b"get", b"keepttl"})


def keys_read(args: Sequence[bytes]) -> Sequence[bytes] | None:
    """The keys that a read asks for; None of a write."""
    name = _name(args)
    if name == "mget":
        return args[1:]
    return args[1:2] if name in READS else None


def finds_part(args: Sequence[bytes]) -> bool:
    """Whether a read may find nothing in a key that is there, and has no more words than scripts take."""
    return _name(args) not in WHOLE and len(args) <= MAX_WORDS


def _name(args: Sequence[bytes]) -> str:
    return args[0].lower().decode("ascii", "replace")


def write_of(args: Sequence[bytes]) -> Write:
    """Take a request apart; raise NotSupportedError, which says why it cannot be right."""
    name, words = _name(args), tuple(args)
    if len(words) > MAX_WORDS:
        raise NotSupportedError(f"more than {MAX_WORDS} words")
    if len(words) < 2:
        raise NotSupportedError("it names no key")
    if name in ("del", "unlink"):
        parts = (KeyWrite(key, (words[0], key), Base.NONE, deletes=True) for key in words[1:])
        return Write(tuple(parts), Join.SUM)
    if name == "mset":
        return Write(tuple(_pairs(words)), Join.OK)
    if name == "set":
        options = {word.lower() for word in words[3:]}
        base = Base.COPY if options & SET_CHANGES else Base.NONE
        return Write((KeyWrite(words[1], words, base, only_new=b"nx" in options),))
    if name in LIVES:
        return Write((KeyWrite(words[1], words, Base.COPY, is_plain=True),))
    if name in REPLACE:
        return Write((KeyWrite(words[1], words, Base.NONE),))
    if name in CHANGE:
        return Write((KeyWrite(words[1], words, Base.COPY, only_new=name in ONLY_NEW),))
    raise NotSupportedError("it cannot be told what the database is to have")


def _pairs(words: Sequence[bytes]) -> Iterator[KeyWrite]:
    if len(words) % 2 == 0:
        raise NotSupportedError("wrong number of arguments for 'mset' command")
    for key, value in zip(words[1::2], words[2::2], strict=True):
        yield KeyWrite(key, (b"SET", key, value), Base.NONE)
