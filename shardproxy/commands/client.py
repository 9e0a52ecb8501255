"""CLIENT LIST, INFO, KILL: the proxy's own clients, those of the same cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import trio

from shardproxy.commands.call import SYNTAX_ERROR, Call, CommandError, Handler, integer, text
from shardproxy.commands.table import lower
from shardproxy.wire.reply import OK, Reply, Verbatim

Client: TypeAlias = Mapping[str, Any]  # as the data plane describes it
Filter: TypeAlias = Callable[[Client], bool]

UNINTERRUPTED = 256  # clients written before other tasks get a turn

TYPES = {"normal": "normal", "pubsub": "pubsub", "master": "master", "replica": "replica", "slave": "replica"}


async def client_list(call: Call) -> Reply:
    ids, is_wanted = _list_filter(call.args[2:])
    clients = [client for client in await clients_of(call, ids) if is_wanted(client)]
    clients.sort(key=lambda client: int(client["id"]))
    lines = []
    for number, client in enumerate(clients):
        if number % UNINTERRUPTED == 0:
            await trio.lowlevel.checkpoint()
        lines.append(f"{line_of(client)}\n")
    return Verbatim("".join(lines).encode("utf-8", "surrogateescape"))


def _list_filter(args: Sequence[bytes]) -> tuple[set[int] | None, Filter]:
    """The ids that are asked for, if any are, and what else has to be true of a client."""
    if not args:
        return None, lambda client: True
    option = lower(args[0])
    if option == "type" and len(args) == 2:
        wanted = _type(args[1])
        return None, lambda client: type_of(client) == wanted
    if option == "id" and len(args) > 1:
        return {integer(word, "ERR Invalid client ID") for word in args[1:]}, lambda client: True
    raise CommandError(SYNTAX_ERROR)


async def client_info(call: Call) -> Reply:
    for client in await call.dataplane.clients([call.offload.client_id]):
        return Verbatim(f"{line_of(client)}\n".encode("utf-8", "surrogateescape"))
    raise CommandError("ERR this connection is about to be closed")


@dataclass(slots=True)
class _Kill:
    """What CLIENT KILL was asked to close."""

    filters: dict[str, Filter]  # by what they look at
    skips_me: bool = True
    id: int | None = None  # the only one it can be


async def client_kill(call: Call) -> Reply:
    """Close clients by filters, or one by address in the old form. Who kills itself is answered first."""
    if len(call.args) == 3:
        address = text(call.args[2])
        kill = _Kill({"addr": lambda client: client["address"] == address}, skips_me=False)
    else:
        kill = _kill_filters(call)
    wanted = [
        client["id"]
        for client in await clients_of(call, None if kill.id is None else [kill.id])
        if all(is_wanted(client) for is_wanted in kill.filters.values())
        and not (kill.skips_me and client["id"] == call.offload.client_id)
    ]
    killed = await call.dataplane.kill(wanted)
    if len(call.args) != 3:
        return killed
    if not killed:
        raise CommandError("ERR No such client")
    return OK


def _kill_filters(call: Call) -> _Kill:
    """The last of several filters of one kind counts, as in networking.c."""
    args = call.args[2:]
    if len(args) % 2:
        raise CommandError(SYNTAX_ERROR)
    kill = _Kill({})
    for option, value in zip(args[::2], args[1::2], strict=True):
        if lower(option) == "id":
            kill.id = integer(value, BAD_ID)
            if kill.id < 1:
                raise CommandError(BAD_ID)
        elif lower(option) != "skipme":
            kill.filters[lower(option)] = _kill_filter(call, lower(option), value)
        elif lower(value) in ("yes", "no"):
            kill.skips_me = lower(value) == "yes"
        else:
            raise CommandError(SYNTAX_ERROR)
    return kill


def _kill_filter(call: Call, option: str, value: bytes) -> Filter:
    match option:
        case "type":
            wanted = _type(value)
            return lambda client: type_of(client) == wanted
        case "addr" | "laddr":
            key, wanted = ("address" if option == "addr" else "local_address"), text(value)
            return lambda client: client[key] == wanted
        case "user":
            wanted = text(value)
            if all(user.name != wanted for user in call.users.users(call.topology.cluster)):
                raise CommandError(f"ERR No such user '{wanted}'")
            return lambda client: client.get("user", "default") == wanted
    raise CommandError(SYNTAX_ERROR)


BAD_ID = "ERR client-id should be greater than 0"


def _type(word: bytes) -> str:
    kind = TYPES.get(lower(word))
    if kind is None:
        raise CommandError(f"ERR Unknown client type '{text(word)}'")
    return kind


async def clients_of(call: Call, ids: Collection[int] | None = None) -> list[Client]:
    """The clients of the cluster, or these, also who is blocked here and not at a node."""
    wanted = None if ids is None else [number for number in ids if number > 0]
    described = await call.dataplane.clients(wanted)
    found = [client for client in described if client["cluster"] == call.topology.cluster]
    waiting = call.followers.clients()
    return [{**client, "is_blocked": True} if client["id"] in waiting else client for client in found]


def subscriptions(client: Client) -> int:
    return sum(int(client[kind]) for kind in ("channels", "patterns", "shard_channels"))


def type_of(client: Client) -> str:
    return "pubsub" if subscriptions(client) else "normal"


def flags_of(client: Client) -> str:
    """The flags CLIENT LIST shows; N when there are none."""
    flags = {
        "O": bool(client["is_monitor"]),
        "P": subscriptions(client) > 0,
        "x": client["queued"] is not None,
        "b": bool(client["is_blocked"]),
        "t": bool(client["is_tracking"]),
        "R": bool(client["is_redirect_broken"]),
        "B": bool(client["is_broadcast"]),
        "U": str(client["local_address"]).startswith("unix:"),
        "e": bool(client["no_evict"]),
    }
    return "".join(flag for flag, is_set in flags.items() if is_set) or "N"


def line_of(client: Client) -> str:
    """The line of CLIENT LIST, with the fields of Redis 7.0 in their order and what newer ones add behind."""
    fields = {
        "id": client["id"],
        "addr": client["address"],
        "laddr": client["local_address"],
        "fd": 0,
        "name": text(client["name"]),
        "age": client["age"],
        "idle": client["idle"],
        "flags": flags_of(client),
        "db": client["db"],
        "sub": client["channels"],
        "psub": client["patterns"],
        "ssub": client["shard_channels"],
        "multi": -1 if client["queued"] is None else client["queued"],
        "qbuf": client["input"],
        "qbuf-free": 0,
        "argv-mem": 0,
        "multi-mem": 0,
        "rbs": client["output"],
        "rbp": 0,
        "obl": client["output"],
        "oll": 0,
        "omem": 0,
        "tot-mem": client["memory"],
        "events": "r",
        "cmd": client["command"] or "NULL",
        "user": client.get("user", "default"),
        "redir": client["redirect"],
        "resp": client["resp"],
        "lib-name": text(client["lib_name"]),
        "lib-ver": text(client["lib_version"]),
    }
    return " ".join(f"{name}={value}" for name, value in fields.items())


HANDLERS: Mapping[str, Handler] = {
    "client|info": client_info,
    "client|kill": client_kill,
    "client|list": client_list,
}
