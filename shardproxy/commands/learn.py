"""Learns commands the table lacks (newer engines, modules) from the engines themselves.

Owns the table as it is now. A name the engines do not know either is remembered for a while, and only so many
are asked for per second, so that a flood of unknown names does not become a flood of questions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
import trio

from shardproxy.commands.call import Call, CommandError
from shardproxy.commands.shards import ask_any
from shardproxy.commands.table import Table
from shardproxy.wire.reply import Reply

UNKNOWN_FOR = 30.0  # seconds; a module may be loaded meanwhile
UNKNOWN_NAMES = 4096  # remembered per proxy
MAX_NAME = 64  # bytes; no engine has a longer one
UNKNOWN_PER_SECOND = 50  # names asked for in vain; beyond this they are not asked for
ASK_TIMEOUT = 1.0  # seconds
SILENT_FOR = 2.0  # seconds during which nodes that did not answer are not asked again
LEARNED = 2048  # commands; several times what all known modules have

log = structlog.get_logger()


class Learner:
    """The table, and how it grows."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._unknown: OrderedDict[tuple[str, str], float] = OrderedDict()  # (cluster, name), until when
        self._silent: dict[str, tuple[float, str]] = {}  # clusters that did not answer: until when, and why
        self._turns: dict[str, trio.Lock] = {}
        self._counted_since = 0.0
        self._count = 0  # of names that turned out unknown since then

    async def learn(self, call: Call, name: str) -> bool:
        """Make the table know the command, if the cluster's engines do; say whether it does now.

        Raise CommandError when they cannot be asked.
        """
        if not self._is_worth_asking(call, name):
            return False
        async with self._turns.setdefault(call.offload.cluster, trio.Lock()):
            if self.table.get(name) is not None:  # whoever was before us asked for it
                return True
            if not self._is_worth_asking(call, name) or not self._may_ask():
                return False
            entry = await self._ask(call, name)
            if entry is None:
                self._remember_unknown(call, name)
                return False
            table = self.table.with_command(entry)
            call.dataplane.learn(table.encode())
            self.table = table
            log.info("command learned", command=name, route=entry["route"], keys=entry["keys"])
            return True

    async def _ask(self, call: Call, name: str) -> dict[str, Any] | None:
        cluster = call.offload.cluster
        until, why = self._silent.get(cluster, (0.0, ""))
        if trio.current_time() >= until:
            try:
                reply = await ask_any(call, "COMMAND", "INFO", name, timeout=ASK_TIMEOUT)
                return entry_of(reply, name)
            except CommandError as e:
                why = str(e).removeprefix("ERR ")
                self._silent[cluster] = (trio.current_time() + SILENT_FOR, why)
        raise CommandError(f"ERR cannot ask the nodes what the command '{name}' is: {why}")

    def _is_worth_asking(self, call: Call, name: str) -> bool:
        until = self._unknown.get((call.offload.cluster, name), 0.0)
        return (
            len(name) <= MAX_NAME
            and name.isascii()
            and name.isprintable()
            and until <= trio.current_time()
            and len(self.table.learned) < LEARNED
        )

    def _may_ask(self) -> bool:
        """Whether few enough names turned out unknown lately."""
        now = trio.current_time()
        if now - self._counted_since >= 1.0:
            self._counted_since, self._count = now, 0
        return self._count < UNKNOWN_PER_SECOND

    def _remember_unknown(self, call: Call, name: str) -> None:
        self._count += 1
        self._unknown[(call.offload.cluster, name)] = trio.current_time() + UNKNOWN_FOR
        if len(self._unknown) > UNKNOWN_NAMES:
            self._unknown.popitem(last=False)


def entry_of(reply: Reply, name: str) -> dict[str, Any] | None:
    """A table entry from the reply to COMMAND INFO (RESP2); None when the engine does not know it."""
    match _plain(reply):
        case [[str() as named, int() as arity, list() as flags, int() as first, last, step, *more]]:
            pass
        case _:
            return None
    if named.lower() != name:
        return None
    categories, tips, specs = (more + [[], [], []])[:3]
    key_specs = [_as_map(spec) for spec in specs]
    keys = keys_of(flags, first, step, key_specs)
    route, note = route_of(flags, keys)
    return {
        "name": name,
        "arity": arity,
        "flags": flags,
        "first": first,
        "last": last,
        "step": step,
        "categories": categories,
        "tips": tips,
        "key_specs": key_specs,
        "route": route,
        "keys": keys or "none",
        "join": None,
        "note": note,
        "subcommands": [],
    }


def keys_of(
    flags: Sequence[str], first: int, step: int, key_specs: Sequence[Mapping[str, Any]]
) -> str | None:
    """The extractor that finds its keys; None when there are keys but none finds them."""
    numbered = [spec for spec in key_specs if spec["find_keys"]["type"] == "keynum"]
    if numbered:
        return _numkeys_of(numbered[0])
    if first:
        return "range"
    return None if key_specs or "movablekeys" in flags else "none"


def _numkeys_of(spec: Mapping[str, Any]) -> str | None:
    begin, find = spec["begin_search"], spec["find_keys"]["spec"]
    if begin["type"] != "index" or find["keynumidx"] != 0 or find["firstkey"] != 1:
        return None
    return f"numkeys:{begin['spec']['index']}" if find["keystep"] == 1 else None


def route_of(flags: Sequence[str], keys: str | None) -> tuple[str, str | None]:
    """Route and, where it may be refused, why. All clusters share it, however many shards each has."""
    if "pubsub" in flags:
        return "refused", "its subscriptions would not survive on shared connections"
    if keys is None:
        return "refused", "the proxy cannot tell where its keys are"
    if keys == "none":
        return "only", "it names no key, so no shard"
    return ("block" if "blocking" in flags else "shard"), None


def _plain(value: Reply) -> Any:
    """Bytes as text and nested lists, so that it can be JSON."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _as_map(flat: list[Any]) -> dict[str, Any]:
    """A map as RESP2 has it, and the maps inside of it: of key specs only `flags` is a list."""
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {
        key: _as_map(value) if isinstance(value, list) and key != "flags" else value for key, value in pairs
    }
