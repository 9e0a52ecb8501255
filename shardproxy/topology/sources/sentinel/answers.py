"""What one Sentinel says of one primary. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shardproxy.model import Address
from shardproxy.wire.reply import Failure, NullArray, Reply

DOWN = frozenset({"s_down", "o_down"})


class AnswerError(ValueError):
    """A Sentinel's reply is not what it answers."""


@dataclass(frozen=True, slots=True)
class ReplicaSaid:
    """A replica as a Sentinel has it."""

    address: Address
    is_down: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """One Sentinel's word on one name."""

    primary: Address
    epoch: int  # config-epoch: of the failover that made it the primary; the higher wins
    replicas: tuple[ReplicaSaid, ...] = ()
    is_failing_over: bool = False  # by this Sentinel, now


def questions(name: str) -> tuple[tuple[str, ...], ...]:
    """What a Sentinel is asked about one name."""
    return (
        ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name),
        ("SENTINEL", "MASTER", name),
        ("SENTINEL", "REPLICAS", name),
    )


def answer_read(replies: Sequence[Reply]) -> Answer | None:
    """Read the replies to `questions`; None where it does not know the name; raise AnswerError.

    While a failover is being finished the first names the new primary already, the others the old one.
    """
    named, master, replicas = replies
    if named is None or isinstance(named, NullArray):
        return None
    if isinstance(master, Failure) and "no such master" in master.text.lower():
        return None  # it was forgotten between the questions
    for reply in replies:
        if isinstance(reply, Failure):
            raise AnswerError(reply.text)
    match named:
        case [bytes() as host, bytes() as port]:
            primary = _address(host.decode(errors="replace"), port.decode(errors="replace"))
        case _:
            raise AnswerError(f"GET-MASTER-ADDR-BY-NAME replied {named!r:.80}")
    fields = _fields(master)
    if not isinstance(replicas, Sequence) or isinstance(replicas, str | bytes):
        raise AnswerError(f"REPLICAS replied {replicas!r:.80}")
    return Answer(
        primary,
        _number(fields, "config-epoch"),
        tuple(_replicas(replicas)),
        "failover_in_progress" in fields.get("flags", "").split(","),
    )


def _replicas(replies: Sequence[Reply]) -> Iterator[ReplicaSaid]:
    """Those that have an address: a name that it could not look up is none."""
    for reply in replies:
        fields = _fields(reply)
        with contextlib.suppress(AnswerError):
            address = _address(fields.get("ip", ""), fields.get("port", ""))
            yield ReplicaSaid(address, bool(DOWN & set(fields.get("flags", "").split(","))))


def _fields(reply: Reply) -> dict[str, str]:
    if not isinstance(reply, Sequence) or isinstance(reply, str | bytes) or len(reply) % 2:
        raise AnswerError(f"MASTER or REPLICAS replied {reply!r:.80}")
    texts = [item.decode(errors="replace") if isinstance(item, bytes) else str(item) for item in reply]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _number(fields: dict[str, str], name: str) -> int:
    text = fields.get(name, "")
    if not text.isascii() or not text.isdigit():
        raise AnswerError(f"MASTER says {name}:{text!r:.40}, which is not a number")
    return int(text)


def _address(host: str, port: str) -> Address:
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= 65535:
        raise AnswerError(f"names {host!r:.80} port {port!r:.20}, which is no address")
    return Address(host, int(port))
