"""Every command through the proxy and to one plain engine: the same bytes come back."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence

import pytest

from shardproxy.commands.table import Command, Table
from shardproxy.fleet import RedisNode
from shardproxy.wire.resp import encode
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import Proxy
from tests.protocol.case import BLOCKS, HOW, PROXY_ONLY, Block, Step
from tests.protocol.raw import Replies, Value

TABLE = Table.load()
REFUSED = sorted((c for c in TABLE.all() if c.route == "refused"), key=lambda c: c.name)
Ask = Callable[..., Wire]


def run(
    wire: Wire, resp: int, steps: Sequence[Step], pipelined: bool, is_proxy: bool = True
) -> list[list[Value]]:
    """The replies to every step."""
    replies = Replies(wire.socket)
    if resp == 3:
        wire.send(encode("HELLO", 3))
        replies.next()
    if pipelined:
        wire.send(b"".join(encode(*step.args) for step in steps))
    found = []
    for step in steps:
        if not pipelined:
            wire.send(encode(*step.args))
        found.append([replies.next() for _ in range(1 if is_proxy and step.pattern else step.replies)])
    wire.socket.shutdown(
        socket.SHUT_WR
    )  # when it is closed from there too, it left nothing: no subscription, no watch
    while wire.socket.recv(1000):
        pass
    return found


def compare(step: Step, ours: list[Value], theirs: list[Value]) -> str | None:
    """Why the replies are not as they should be."""
    if step.pattern is not None:
        is_right = re.fullmatch(step.pattern, str(ours[0])) is not None
        return None if is_right else f"{step}\n  proxy   {str(ours[0])!r}\n  is not  {step.pattern}"
    normalise = HOW[step.how]
    if [normalise(value) for value in ours] == [normalise(value) for value in theirs]:
        return None
    return f"{step}\n  proxy   {''.join(map(str, ours))!r}\n  engine  {''.join(map(str, theirs))!r}"


@pytest.mark.parametrize("pipelined", [False, True], ids=["whole", "pipelined"])
@pytest.mark.parametrize("resp", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_replies_are_the_engines(
    block: Block, resp: int, pipelined: bool, proxy: Proxy, plain: RedisNode, wire: Ask
) -> None:
    theirs = run(wire(plain.address), resp, block.steps, pipelined, is_proxy=False)
    ours = run(wire(proxy), resp, block.steps, pipelined)
    whys = (compare(step, o, t) for step, o, t in zip(block.steps, ours, theirs, strict=True))
    wrong = [why for why in whys if why is not None]
    assert not wrong, "\n".join(["", *wrong])


def arguments_of(command: Command) -> list[str]:
    """A request of the command with as many arguments as it needs."""
    return [*command.name.split("|"), *["1"] * 20][: abs(command.arity)]


@pytest.mark.parametrize("resp", [2, 3])
def test_refused_commands_say_why(resp: int, proxy: Proxy, wire: Ask) -> None:
    connection = wire(proxy)
    steps = [Step(tuple(word.encode() for word in arguments_of(command))) for command in REFUSED]
    for command, [reply] in zip(REFUSED, run(connection, resp, steps, pipelined=True), strict=True):
        name = command.name.replace("|", " ").upper()
        assert str(reply) == f"-ERR {name} is refused by this proxy: {command.note}\n"


def is_well_formed(args: Sequence[bytes]) -> bool:
    command = TABLE.find(args)
    return command is not None and command.is_arity(len(args))


def test_the_wrong_number_of_arguments_is_the_engines_error(
    proxy: Proxy, plain: RedisNode, wire: Ask
) -> None:
    few = [arguments_of(command)[:-1] for command in TABLE.all()]
    many = [[*arguments_of(command), "1"] for command in TABLE.all() if command.arity > 0]
    known = {name.decode() for name in plain.ask("COMMAND", "LIST")}
    requests = [r for r in (*few, *many) if r and (r[0] in known and "|".join(r[:2]) not in EXTRAS)]
    steps = [Step(tuple(word.encode() for word in request)) for request in requests]
    steps = [step for step in steps if not is_well_formed(step.args)]
    theirs = run(wire(plain.address), 2, steps, pipelined=True, is_proxy=False)
    ours = run(wire(proxy), 2, steps, pipelined=True)
    for step, o, t in zip(steps, ours, theirs, strict=True):
        assert str(o[0]) == str(t[0]), step


# The proxy has these whatever the engine's version.
EXTRAS = {"client|setinfo", "client|no-touch"}


def test_every_command_has_a_case(plain: RedisNode) -> None:
    names = {name.decode() for name in plain.ask("COMMAND", "LIST")} | {c.name for c in TABLE.all()}
    tried = {c.name for block in BLOCKS for step in block.steps if (c := TABLE.find(step.args))}
    tried |= {name.partition("|")[0] for name in tried}
    assert names - tried - {command.name for command in REFUSED} == set()


def test_every_exception_has_its_reason() -> None:
    for block in BLOCKS:
        for step in block.steps:
            assert (step.how == "same") == (step.reason is None), step
            assert step.how in HOW or step.how in PROXY_ONLY
