"""What a cluster of several shards answers to a request, as the data plane decides it.

Pure but for the state of every connection: MULTI and WATCH make several requests one. Every case here is also
asked of a proxy by the tests.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from shardproxy.advice.monitor import Seen
from shardproxy.commands.table import Command, Table, lower
from shardproxy.dataplane._native import Placer

SLOTS = 16384
CROSSSLOT = "CROSSSLOT Keys in request don't hash to the same slot"
CONNECTIONS = 10_000  # whose transactions are remembered; the one that was silent longest is forgotten
QUEUED = 1000  # commands of a transaction that are looked at, and keys that are watched for it
SCRIPTS = frozenset({"eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"})
# What an engine executes within a transaction though it has no keys, and what is about the client itself.
IN_MULTI = frozenset({"ping", "echo", "time", "unwatch", "publish", "spublish"})
OWN = (
    *("asking", "readonly", "readwrite", "client|caching", "client|getname", "client|getredir", "client|id"),
    *("client|no-evict", "client|set", "client|trackinginfo"),
)
TRANSACTION = "MULTI … EXEC"


class Kind(Enum):
    """Why a request is not answered as one Redis does."""

    CROSSES = "keys in several slots"
    SCRIPT = "keys a script does not name"
    DATABASE = "another database"
    REFUSED = "refused"
    IN_MULTI = "not inside MULTI"
    APART = "not at one moment"


@dataclass(frozen=True, slots=True)
class Finding:
    """A request that would be refused, or answered otherwise."""

    kind: Kind
    command: str
    keys: tuple[bytes, ...]  # that would have to be in one slot
    answer: str  # what the proxy says, or what is different
    is_refused: bool = True
    can_cure: bool = False  # a key family could


@dataclass(slots=True)
class _Connection:
    queued: list[tuple[bytes, ...]] | None = None  # inside MULTI
    watched: list[bytes] = field(default_factory=list)


class Judge:
    """Judges what a server was asked, line by line."""

    def __init__(self, table: Table, shards: int, families: Sequence[tuple[str, str]] = ()) -> None:
        self._table = table
        self._shards = shards
        self._placer = Placer(table.encode(), list(families))
        self._connections: OrderedDict[bytes, _Connection] = OrderedDict()
        self._script: tuple[str, list[bytes]] | None = None  # the latest, and its keys
        self.unknown: set[str] = set()  # commands that are not in the table

    def judge(self, seen: Seen) -> list[Finding]:
        """Say what is found about one line."""
        if seen.is_of_script:
            return list(self._within_script(seen.args))
        self._script = None
        name = lower(seen.args[0])
        if name in SCRIPTS:
            self._script = name, self.keys(seen.args)
        found = list(self._with_state(self._connection(seen.client), name, seen))
        return [database(seen.db), *found] if seen.db else found

    def forget(self) -> None:
        """Lines were lost: what is under way is not known."""
        self._connections.clear()
        self._script = None

    def keys(self, args: Sequence[bytes]) -> list[bytes]:
        """The keys of a request; none where they cannot be told."""
        try:
            return [args[position] for position in self._placer.keys(list(args))]
        except ValueError:
            return []

    def is_one_slot(self, keys: Sequence[bytes]) -> bool:
        return len({self._placer.slot(key) for key in keys}) < 2

    def is_one_shard(self, keys: Sequence[bytes]) -> bool:
        """Whether one shard has them all, where slots are split evenly."""
        return len({self._placer.slot(key) * self._shards // SLOTS for key in keys}) < 2

    def _connection(self, client: bytes) -> _Connection:
        connection = self._connections.get(client)
        if connection is None:
            connection = self._connections[client] = _Connection()
            if len(self._connections) > CONNECTIONS:
                self._connections.popitem(last=False)
        self._connections.move_to_end(client)
        return connection

    def _with_state(self, connection: _Connection, name: str, seen: Seen) -> Iterator[Finding]:
        match name:
            case "multi":
                connection.queued = []
            case "exec":
                queued, connection.queued = connection.queued, None
                watched, connection.watched = connection.watched, []
                yield from self._transaction(queued or [], watched)
            case "discard" | "reset":
                connection.queued, connection.watched = None, []
            case "unwatch":
                connection.watched = []
            case _ if connection.queued is not None:
                if len(connection.queued) < QUEUED:
                    connection.queued.append(seen.args)
            case "watch":
                keys = dict.fromkeys((*connection.watched, *seen.args[1 : QUEUED + 1]))
                connection.watched = list(keys)[:QUEUED]
                if not self.is_one_slot(connection.watched):
                    yield Finding(Kind.CROSSES, "WATCH", tuple(connection.watched), CROSSSLOT, can_cure=True)
                    connection.watched = []
            case _:
                yield from self.verdict(seen.args)

    def _transaction(self, queued: list[tuple[bytes, ...]], watched: list[bytes]) -> Iterator[Finding]:
        """Everything between MULTI and EXEC runs on one shard, and what was watched is there too."""
        keys = list(watched)
        for args in queued:
            command = self._table.find(args)
            if command is not None and (why := why_not_in_multi(command)):
                yield Finding(Kind.IN_MULTI, f"MULTI … {_title(command)} … EXEC", (), why)
                continue
            refused = [f for f in self.verdict(args) if f.kind not in (Kind.APART, Kind.CROSSES)]
            yield from refused
            keys += [] if refused else self.keys(args)
        if not self.is_one_slot(keys):
            name = f"WATCH, {TRANSACTION}" if watched else TRANSACTION
            yield Finding(Kind.CROSSES, name, tuple(dict.fromkeys(keys)), CROSSSLOT, can_cure=True)

    def _within_script(self, args: tuple[bytes, ...]) -> Iterator[Finding]:
        """A script runs on the shard of the keys it was given; others it would look for in vain."""
        if self._script is None:
            return
        name, named = self._script
        others = [key for key in self.keys(args) if key not in named]
        if others and not (named and self.is_one_slot([*named, *others])):
            what = "it runs where its KEYS are, and finds other keys only there"
            keys = (*dict.fromkeys([*named, *others]),) if named else ()
            yield Finding(Kind.SCRIPT, name.upper(), keys, what, is_refused=False, can_cure=bool(named))
            if not named:
                self._script = None  # once is enough

    def verdict(self, args: Sequence[bytes]) -> Iterator[Finding]:
        """Say what is found about a request that stands alone."""
        command = self._table.find(args)
        if command is None:
            self.unknown.add(lower(args[0])[:64])
            return
        title = _title(command)
        if command.route in ("refused", "later", "only"):
            why = command.note or "not served yet"
            allowed = " (commands: {allow: …} can permit it)" if command.is_restricted else ""
            yield Finding(Kind.REFUSED, title, (), f"ERR {title} is refused by this proxy: {why}{allowed}")
        elif command.route == "database" and (text := _why_not_database(command, args)):
            yield Finding(Kind.DATABASE, title, tuple(args[1:2]), text)
        elif command.name == "ssubscribe":
            if not self.is_one_slot(args[1:]):
                yield Finding(Kind.CROSSES, title, tuple(args[1:]), CROSSSLOT)
        else:
            yield from self._verdict_of_keys(command, title, args)

    def _verdict_of_keys(self, command: Command, title: str, args: Sequence[bytes]) -> Iterator[Finding]:
        try:
            positions = self._placer.keys(list(args))
        except ValueError as error:  # SORT with patterns
            yield Finding(Kind.REFUSED, title, (), str(error))
            return
        keys = [args[position] for position in positions]
        if self.is_one_slot(keys):
            return
        keys = list(dict.fromkeys(keys))
        if command.route == "split":
            if not self.is_one_shard(keys):
                text = "served, by each shard for itself"
                yield Finding(Kind.APART, title, tuple(keys), text, is_refused=False)
        elif command.keys != "none":
            yield Finding(Kind.CROSSES, title, tuple(keys), CROSSSLOT, can_cure=True)


def database(number: int) -> Finding:
    """A request in another database than the only one that several shards have."""
    return Finding(
        Kind.DATABASE, f"(all in database {number})", (), "ERR SELECT is not allowed in cluster mode"
    )


def why_not_in_multi(command: Command) -> str | None:
    """Why a command is not possible inside MULTI, where it is otherwise."""
    title = _title(command)
    if command.name in IN_MULTI or command.name.startswith(OWN):
        return None
    if command.route in ("offload", "local"):
        why = "the proxy answers it, a transaction is an engine's"
    elif command.route == "pubsub":
        why = "subscriptions are the proxy's, a transaction is an engine's"
    else:
        return None
    return f"ERR {title} is not possible inside MULTI: {why}"


def _why_not_database(command: Command, args: Sequence[bytes]) -> str | None:
    if command.name in ("move", "swapdb"):
        return f"ERR {_title(command)} is not allowed in cluster mode"
    options = [lower(arg) for arg in args[3:]]
    at = options.index("db") if "db" in options else len(options)
    if options[at + 1 : at + 2] not in ([], ["0"]):
        return "ERR Copying to another database is not allowed in cluster mode"
    return None


def _title(command: Command) -> str:
    return command.name.replace("|", " ").upper()
