"""What memcached's clients ask of keys with rules, in either protocol, and what they hear. Pure."""

from __future__ import annotations

import base64
import binascii
import enum
import time
from collections.abc import Sequence
from dataclasses import dataclass

from shardproxy.caching.memcached.items import LONGEST_RELATIVE, Item

SHOWN = 200  # characters of a reason
END = b"END\r\n"
READS = frozenset({b"get", b"gets", b"gat", b"gats", b"mg"})


class Verb(enum.Enum):
    """What a write does."""

    SET = "set"
    ADD = "add"
    REPLACE = "replace"
    APPEND = "append"
    PREPEND = "prepend"
    DELETE = "delete"


MODES = {b"S": Verb.SET, b"E": Verb.ADD, b"R": Verb.REPLACE, b"A": Verb.APPEND, b"P": Verb.PREPEND}


class Done(enum.Enum):
    """What came of it: the classic reply, and the meta one."""

    STORED = (b"STORED", b"HD")
    DELETED = (b"DELETED", b"HD")
    NOT_STORED = (b"NOT_STORED", b"NS")
    EXISTS = (b"EXISTS", b"EX")
    NOT_FOUND = (b"NOT_FOUND", b"NF")


class RequestError(Exception):
    """Why the request is refused: the whole text of an error reply."""


@dataclass(frozen=True, slots=True)
class Read:
    """Keys, in their order."""

    keys: tuple[bytes, ...]
    with_cas: bool = False
    touch: bytes | None = None  # as T takes it
    words: tuple[bytes, ...] = ()  # of mg: those behind its key


@dataclass(frozen=True, slots=True)
class KeyWrite:
    """One key's write."""

    verb: Verb
    key: bytes
    value: bytes = b""
    flags: int = 0
    lives: int = 0  # seconds; 0: the client does not say; negative: it is over at once
    cas: int | None = None  # what the value has to have still
    words: tuple[bytes, ...] | None = None  # of a meta command: those behind its key; None of a classic one


@dataclass(frozen=True, slots=True)
class Result:
    done: Done
    cas: int = 0  # of what was stored


def is_read(args: Sequence[bytes]) -> bool:
    return args[0] in READS


def read_of(args: Sequence[bytes]) -> Read:
    match args:
        case [b"get" | b"gets", *keys]:
            return Read(tuple(keys), args[0] == b"gets")
        case [b"gat" | b"gats", lives, *keys]:
            return Read(tuple(keys), args[0] == b"gats", lives)
        case [b"mg", key, *words]:
            kept = tuple(word for word in words if word[:1] not in (b"N", b"R", b"E"))
            return Read((_key(key, words),), words=kept)
    raise RequestError("ERROR")


def write_of(args: Sequence[bytes]) -> KeyWrite:
    """Raise RequestError, which says why it cannot be right."""
    match args:
        case [b"set" | b"add" | b"replace" | b"append" | b"prepend" as name, key, flags, lives, _, value]:
            verb = Verb(name.decode())
            return KeyWrite(verb, key, value, _number(flags), _lives(_number(lives)))
        case [b"cas", key, flags, lives, _, cas, value]:
            return KeyWrite(Verb.SET, key, value, _number(flags), _lives(_number(lives)), cas=_number(cas))
        case [b"delete", key, *_]:
            return KeyWrite(Verb.DELETE, key)
        case [b"ms", key, _, *words, value]:
            return _meta_set(_key(key, words), tuple(words), value)
        case [b"md", key, *words]:
            _known(words, b"CIOTbkqx", b"ITx")
            return KeyWrite(Verb.DELETE, _key(key, words), cas=_cas(words), words=tuple(words))
    verb_given = args[0][:64].decode("utf-8", "replace")
    raise RequestError(f"SERVER_ERROR {verb_given} is refused for keys that are kept in a database")


def _meta_set(key: bytes, words: tuple[bytes, ...], value: bytes) -> KeyWrite:
    _known(words, b"CFIMOTSbckqs", b"I")
    mode = MODES.get((_flag(words, b"M") or b"S")[:1].upper())
    if mode is None:
        raise RequestError("CLIENT_ERROR invalid mode for ms")
    return KeyWrite(
        mode,
        key,
        value,
        _number(_flag(words, b"F") or b"0"),
        _lives(_number(_flag(words, b"T") or b"0")),
        _cas(words),
        words,
    )


def _known(words: Sequence[bytes], known: bytes, refused: bytes) -> None:
    for word in words:
        if word[:1] not in known:
            raise RequestError("CLIENT_ERROR invalid flag")
        if word[:1] in refused:
            flag = word[:1].decode()
            raise RequestError(f"SERVER_ERROR flag {flag} is refused for keys that are kept in a database")


def _flag(words: Sequence[bytes], name: bytes) -> bytes | None:
    return next((word[1:] for word in words if word[:1] == name), None)


def _cas(words: Sequence[bytes]) -> int | None:
    word = _flag(words, b"C")
    return None if word is None else _number(word)


def _key(word: bytes, flags: Sequence[bytes]) -> bytes:
    if b"b" not in flags:
        return word
    try:
        return base64.b64decode(word, validate=True)
    except binascii.Error:
        raise RequestError("CLIENT_ERROR error decoding key") from None


def _number(word: bytes) -> int:
    try:
        return int(word)
    except ValueError:
        raise RequestError("CLIENT_ERROR bad command line format") from None


def _lives(seconds: int) -> int:
    """Dates as seconds from now."""
    if seconds <= LONGEST_RELATIVE:
        return seconds
    return int(seconds - time.time()) or -1


def values(read: Read, items: Sequence[tuple[bytes, Item | None]]) -> bytes:
    """The reply to a get."""
    found = []
    for key, item in items:
        if item is not None and item.is_value:
            cas = b" %d" % item.cas if read.with_cas else b""
            found.append(b"VALUE %b %d %d%b\r\n%b\r\n" % (key, item.flags, len(item.value), cas, item.value))
    return b"".join((*found, END))


def missing(read: Read, key: bytes) -> bytes:
    """The reply to mg where there is nothing; `key` as the client has it."""
    return b" ".join((b"EN", *echoed(read.words, key))) + b"\r\n"


def echoed(words: Sequence[bytes], key: bytes) -> list[bytes]:
    """What comes back as it was sent, whatever the reply is."""
    return [b"k" + key if word == b"k" else word for word in words if word[:1] in (b"O", b"b", b"k")]


def result(write: KeyWrite, done: Result, key: bytes) -> bytes:
    """The reply to a write; `key` as the client has it."""
    classic, meta = done.done.value
    if write.words is None:
        return bytes(classic) + b"\r\n"
    told = [meta]
    for word in write.words:
        match word[:1]:
            case b"O" | b"b" | b"k":
                told += echoed([word], key)
            case b"c":
                told.append(b"c%d" % done.cas)
            case b"s":
                told.append(b"s%d" % len(write.value))
    return b" ".join(told) + b"\r\n"


def error(text: str) -> bytes:
    """An error reply; whatever a database says, it is one line of some length."""
    return " ".join(text.split())[:SHOWN].encode() + b"\r\n"
