"""Handlers that send a command to every shard as it came, and make one reply of theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

from shardproxy.commands.call import Call, CommandError, Handler
from shardproxy.commands.shards import Answer, ask_every
from shardproxy.wire.reply import Raw, Reply, Verbatim

Join: TypeAlias = Callable[[Sequence[Answer]], Reply]


def everywhere(join: Join) -> Handler:
    """The handler of a command that all shards run and whose replies are joined so."""

    async def handler(call: Call) -> Reply:
        return join(await ask_every(call, *call.args, resp=call.resp))

    return handler


def total(answers: Sequence[Answer]) -> Reply:
    """The sum; an error when a shard has one."""
    return sum(cast("int", answer.reply) for answer in _checked(answers))


def all_alike(answers: Sequence[Answer]) -> Reply:
    """What they all say, as the first says it, of a command that changes something.

    Where only some have executed it, an error says how many, and why the others have not.
    """
    return Raw(_executed(answers)[0].raw)


def concatenated(answers: Sequence[Answer]) -> Reply:
    """One array of all their elements, which are passed on unread: there may be millions."""
    bodies = [answer.raw.partition(b"\r\n")[2] for answer in _checked(answers)]
    count = sum(len(cast("list[Reply]", answer.reply)) for answer in answers)
    return Raw(b"".join((b"*%d\r\n" % count, *bodies)))


def one_succeeded(answers: Sequence[Answer]) -> Reply:
    """OK when a shard could do it; else what the one says that had something to do, or the first."""
    for answer in answers:
        if answer.is_ok:
            return Raw(answer.raw)
    telling = [answer for answer in answers if answer.failure is None or answer.failure.code != "NOTBUSY"]
    raise CommandError((telling or answers)[0].error)


def texts(answers: Sequence[Answer]) -> Reply:
    """Texts for people one below the other, each under its shard's name; of one shard, its text alone."""
    found = [(a.shard, cast("bytes", a.reply)) for a in answers if a.is_ok]
    if not found:
        raise CommandError(answers[0].error)
    if len(answers) == 1:
        return Verbatim(found[0][1])
    return Verbatim(
        b"\n".join(b"[shard %b, %b]\n%b\n" % (s.label.encode(), str(s.primary).encode(), t) for s, t in found)
    )


def _executed(answers: Sequence[Answer]) -> Sequence[Answer]:
    """Raise CommandError unless all have: the plain reason where none has, and may not have."""
    doubtful = [answer for answer in answers if answer.is_doubtful]
    failed = [answer for answer in answers if not answer.is_ok and not answer.is_doubtful]
    executed = len(answers) - len(doubtful) - len(failed)
    if executed == len(answers):
        return answers
    if executed or doubtful:
        places = f"executed by {executed} of {len(answers)} {_places(answers)}"
        perhaps = f", perhaps by {len(doubtful)} more" if doubtful else ""
        raise CommandError(f"ERR INDOUBT {places}{perhaps}: {(doubtful or failed)[0].error}")
    raise CommandError(failed[0].error)


def _places(answers: Sequence[Answer]) -> str:
    """Where a command went: to shards, or to every node of them."""
    return "shards" if len({answer.shard.number for answer in answers}) == len(answers) else "nodes"


def _checked(answers: Sequence[Answer]) -> Sequence[Answer]:
    for answer in answers:
        answer.check()
    return answers
