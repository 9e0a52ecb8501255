"""What an engine answers to a command. Only we send any by this way; others meddle with engines directly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from shardproxy.model import Address
from shardproxy.wire.reply import Failure, Reply, Simple
from shardproxy.wire.resp import Argument
from tests.simulation.engine import SimEngine

if TYPE_CHECKING:
    from tests.simulation.world import World

CHANGING = frozenset({"REPLICAOF", "FAILOVER"})
CHANGING_CLIENTS = ("CLIENT", "KILL")
CHANGING_CONFIG = (("CONFIG", "SET"), ("CONFIG", "REWRITE"))


def words_of(request: Sequence[Argument]) -> tuple[str, ...]:
    return tuple(str(word).upper() for word in request)


def is_changing(words: tuple[str, ...]) -> bool:
    """Whether an engine is another one after it."""
    return words[0] in CHANGING or words[:2] == CHANGING_CLIENTS or words[:2] in CHANGING_CONFIG


def is_freeze(words: tuple[str, ...]) -> bool:
    return words == ("REPLICAOF", "127.0.0.1", "1")


def execute(
    world: World, engine: SimEngine, request: Sequence[Argument], client: str, *, is_blind: bool = False
) -> Reply:
    """Carry a request out; `client` is who sent it, `is_blind` whether the store was down then."""
    words = words_of(request)
    match words:
        case ["PING"]:
            return Failure("MISCONF cannot save") if engine.disk_full else Simple("PONG")
        case ["CLIENT", "SETNAME", _]:
            engine.clients[client] = str(request[2])
        case ["CLIENT", "LIST", *_]:
            return "".join(f"id=1 name={name}\n" for name in engine.clients.values()).encode()
        case ["PUBSUB", "NUMSUB", channel]:
            return [channel.encode(), 0]
        case ["CONFIG", "GET", "REPL-PING-REPLICA-PERIOD"]:
            return [b"repl-ping-replica-period", str(int(engine.ping_period)).encode()]
        case ["CONFIG", "GET", *_]:
            return []
        case ["CONFIG", "SET", "REPL-PING-REPLICA-PERIOD", seconds]:
            engine.ping_period = float(seconds)
        case ["INFO", section]:
            return engine.info(section.lower(), trio.current_time(), world.attached(engine))
        case ["INFO"]:
            now, attached = trio.current_time(), world.attached(engine)
            return b"".join(engine.info(section, now, attached) for section in ("server", "replication"))
        case ["ROLE"]:
            if engine.follows is None:
                return [b"master", engine.offset, []]
            state = b"connected" if engine.link_up else b"connect"
            return [b"slave", engine.follows.host.encode(), engine.follows.port, state, engine.offset]
        case ["REPLICAOF", "NO", "ONE"]:
            world.checks.promotion(engine, is_blind=is_blind)
            engine.promote()
        case ["REPLICAOF", host, port]:
            to = Address(host.lower(), int(port))
            if (primary := world.engine_at(to)) is not None and not world.has_given_way(primary):
                world.checks.pointed(engine, primary)
            engine.follow(to)
        case ["FAILOVER", "TO", host, port, "TIMEOUT", _]:
            return _hand_over(world, engine, Address(host.lower(), int(port)))
    return Simple("OK")


def _hand_over(world: World, engine: SimEngine, target: Address) -> Reply:
    if not engine.is_primary:
        return Failure("ERR FAILOVER is not valid when server is a replica.")
    if target not in [replica.address for replica in world.attached(engine)]:
        return Failure("ERR FAILOVER target HOST and PORT is not a replica.")
    engine.handing_over_to = target
    return Simple("OK")
