"""Replies as values, and their bytes in RESP2 and RESP3. Knows nothing of sockets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Simple:
    """A simple string, `+OK`."""

    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An error reply, without its `-`: `ERR syntax error`."""

    text: str

    @property
    def code(self) -> str:
        return self.text.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Text for people: a verbatim string in RESP3, a bulk string in RESP2."""

    text: str | bytes


@dataclass(frozen=True, slots=True)
class SetOf:
    """A set in RESP3, an array in RESP2; in the order given."""

    items: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class NullArray:
    """An absent array: `*-1` in RESP2, null in RESP3."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A reply that is encoded already, such as one passed on from a node."""

    data: bytes


# What can be replied: str and bytes are bulk strings, None is null, a mapping is a map, flat in RESP2.
Reply: TypeAlias = (
    "bool | int | float | str | bytes | Sequence[Reply] | Mapping[str, Reply] | Mapping[bytes, Reply]"
    " | Mapping[int, Reply]"
    " | Simple | Failure | Verbatim | SetOf | NullArray | Raw | None"
)

OK: Final = Simple("OK")


def reply_encode(reply: Reply, resp: int) -> bytes:
    """The reply's bytes in that version of RESP (2 or 3)."""
    out: list[bytes] = []
    _write(out, reply, resp)
    return b"".join(out)


def _write(out: list[bytes], reply: Reply, resp: int) -> None:
    match reply:
        case None:
            out.append(b"_\r\n" if resp == 3 else b"$-1\r\n")
        case NullArray():
            out.append(b"_\r\n" if resp == 3 else b"*-1\r\n")
        case bool():
            out.append((b"#t\r\n" if reply else b"#f\r\n") if resp == 3 else b":%d\r\n" % reply)
        case int():
            out.append(b":%d\r\n" % reply)
        case float():
            text = _double(reply)
            out.append(b",%b\r\n" % text if resp == 3 else _bulk(text))
        case str():
            out.append(_bulk(reply.encode("utf-8", "surrogateescape")))
        case bytes():
            out.append(_bulk(reply))
        case Simple():
            out.append(b"+%b\r\n" % _line(reply.text))
        case Failure():
            out.append(b"-%b\r\n" % _line(reply.text))
        case Verbatim():
            data = reply.text.encode() if isinstance(reply.text, str) else reply.text
            out.append(b"=%d\r\ntxt:%b\r\n" % (len(data) + 4, data) if resp == 3 else _bulk(data))
        case Raw():
            out.append(reply.data)
        case SetOf():
            _write_all(out, b"~" if resp == 3 else b"*", len(reply.items), reply.items, resp)
        case Mapping():
            flat = [x for pair in reply.items() for x in pair]
            _write_all(out, b"%" if resp == 3 else b"*", len(reply) if resp == 3 else len(flat), flat, resp)
        case _:
            _write_all(out, b"*", len(reply), reply, resp)


def _write_all(out: list[bytes], mark: bytes, count: int, items: Iterable[Reply], resp: int) -> None:
    out.append(b"%b%d\r\n" % (mark, count))
    for item in items:
        _write(out, item, resp)


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _line(text: str) -> bytes:
    """One line's bytes: line ends inside become spaces, as Redis does it."""
    return text.encode("utf-8", "surrogateescape").replace(b"\r", b" ").replace(b"\n", b" ")


def _double(value: float) -> bytes:
    if value in (float("inf"), float("-inf")):
        return b"inf" if value > 0 else b"-inf"
    if value.is_integer() and abs(value) < 1e17:
        return b"%d" % int(value)
    return repr(value).encode()
