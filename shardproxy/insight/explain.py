"""Where one request goes, who serves it and why, and what stands in its way. Pure: it is told all it says.

    command ─> known, and allowed here? ─> what its user may ─> its keys' slots ─> shards
                                                                                     └─> node, by reads, zone

What is decided here is what the data plane decides in `admit`, `serve` and `place`; nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from shardproxy.insight.loss import Loss
from shardproxy.model import Address, EndpointKind, SlotRange
from shardproxy.model.text import shown

CROSSSLOT = "CROSSSLOT Keys in request don't hash to the same slot"
READONLY = "READONLY You can't write against a read only replica."
CLUSTERDOWN = "CLUSTERDOWN Hash slot not served"
SPLIT_JOINS = {"mget": "values in the order of the keys", "mset": "one OK", "sum": "the sum"}
MOST_SHOWN = 100  # keys of one request

SERVED, REFUSED, WAITS = "served", "refused", "waits"  # what becomes of a request


@dataclass(frozen=True, slots=True)
class CommandFacts:
    """What the table and the cluster's config say of a command. `is_known`: False is asked of the engines."""

    name: str
    route: str = "shard"
    join: str | None = None
    note: str = ""
    is_read: bool = False
    is_known: bool = True
    is_arity: bool = True
    is_slow: bool = False  # an engine may need seconds for it
    names_database: bool = False  # another than 0


@dataclass(frozen=True, slots=True)
class KeyFacts:
    key: bytes
    slot: int | None  # None: not hashed to slots
    shard: int | None  # by its place; None: nobody has the slot
    tag: bytes | None = None  # what stands between braces, and is hashed instead
    family: str | None = None  # the rule by which it is hashed instead


@dataclass(frozen=True, slots=True)
class NodeFacts:
    address: Address
    is_primary: bool
    zone: str | None = None
    state: str = "up"
    reason: str = ""
    is_answering: bool = True
    is_silent: bool = False  # it takes what it is sent, and says nothing: a connection to it stays open
    is_readable: bool = True  # of a replica: fit to be read from
    why_not_readable: str = ""
    outstanding: int = 0  # bytes of requests that this proxy has for it, without a reply yet
    lag: int | None = None  # bytes


@dataclass(frozen=True, slots=True)
class ShardFacts:
    index: int  # its place
    number: int
    label: str
    nodes: tuple[NodeFacts, ...]
    why_not: str | None = None  # why it has no primary, where that is no failover
    is_refused: bool = False
    read_only: str | None = None
    held: tuple[SlotRange, ...] = ()
    is_only_writes_held: bool = False
    wait: int = 0  # replicas that must have a write before it is acknowledged
    loss: Loss | None = None

    @property
    def primary(self) -> NodeFacts | None:
        return next((node for node in self.nodes if node.is_primary), None)


@dataclass(frozen=True, slots=True)
class AccessFacts:
    """What the rules of a user say. `why` is empty where it may."""

    user: str
    is_asked: bool = True  # False: nobody has to log in
    why: str = ""
    reply: str = ""  # what its client is told


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """A caching rule, or the near cache, that a key's reads and writes meet."""

    match: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    cluster: str
    args: tuple[bytes, ...]
    command: CommandFacts
    access: AccessFacts
    endpoint: EndpointKind = EndpointKind.CONFIGURATION
    zone: str | None = None  # of the proxy
    reads: str = "primary"
    max_staleness: float = 1.0  # seconds
    has_reader: bool = False  # one of its endpoints reads from replicas
    is_relaxed: bool = False  # one shard serves what several would refuse
    keys: tuple[KeyFacts, ...] = ()
    keys_error: str | None = None  # why nobody knows where they are
    shards: tuple[ShardFacts, ...] = ()  # those of the keys, and without keys the first
    limits: dict[str, int] = field(default_factory=dict)  # bytes and counts; 0 = none
    timeouts: dict[str, float] = field(default_factory=dict)  # seconds
    slow_after: float = 0.0  # seconds a command that is slow may take
    rule: RuleFacts | None = None
    near: RuleFacts | None = None


def explain(question: Question) -> dict[str, Any]:
    """All there is to say of a request, as JSON values."""
    outcome, text, parts = _decide(question)
    keys = question.keys[:MOST_SHOWN]
    return {
        "cluster": question.cluster,
        "request": [shown(word) for word in question.args[: MOST_SHOWN + 1]],
        "endpoint": question.endpoint.value,
        "zone": question.zone,
        "outcome": outcome,
        "text": text,
        "command": _command(question),
        "access": {
            "user": question.access.user,
            "is_allowed": not question.access.why,
            "text": question.access.why or _allowed(question.access),
        },
        "keys": [_key(key, question.shards) for key in keys],
        "more_keys": len(question.keys) - len(keys),
        "parts": parts,
        "limits": _limits(question),
        "caching": _rule(question.rule),
        "near_cache": _rule(question.near),
        "read_your_writes": None if outcome == REFUSED else _read_your_writes(question),
        "without_primary": [_without(shard, question) for shard in _shards_of(question)],
    }


# --- what becomes of it ---

Decision = tuple[str, str, list[dict[str, Any]]]


def _decide(question: Question) -> Decision:
    command, access = question.command, question.access
    if not command.is_known:
        return SERVED, _unknown(question), []
    if not command.is_arity:
        return _refused(f"ERR wrong number of arguments for '{command.name}' command")
    if access.why:
        return _refused(access.reply)
    most = question.limits.get("request", 0)
    size = request_size(question.args)
    if most and size > most:
        return _refused(f"it has {size} bytes, and limits.request is {most}: its client is closed")
    return _routed(question)


def _routed(question: Question) -> Decision:
    command = question.command
    name = command.name.replace("|", " ").upper()
    match command.route:
        case "refused":
            return _refused(f"ERR {name} is refused by this proxy: {command.note}")
        case "later":
            return _refused(f"ERR {name} is not supported yet")
        case "local":
            return SERVED, "the proxy answers it, in its data plane: no shard is asked", []
        case "offload":
            return SERVED, f"the proxy's control plane answers it{_asking(command)}", []
        case "transaction":
            return (
                SERVED,
                "the proxy keeps what follows MULTI, and sends it to the shard of its keys at EXEC",
                [],
            )
        case "pubsub":
            return SERVED, "the proxy keeps subscriptions, and has one at a node for all its clients", []
        case "database" if command.names_database and not question.is_relaxed:
            return _refused("databases other than 0 are not served by several shards (in cluster mode)")
        case "only" if not question.is_relaxed:
            return _refused(f"ERR {name} is refused by this proxy: {command.note}")
    if question.keys_error is not None and not question.is_relaxed:
        return _refused(question.keys_error)
    return _to_shards(question)


def _to_shards(question: Question) -> Decision:
    is_split = question.command.route == "split"
    if len({key.slot for key in question.keys}) > 1 and not is_split and not question.is_relaxed:
        return _refused(CROSSSLOT)
    if any(key.shard is None for key in question.keys):
        return _refused(CLUSTERDOWN)
    parts = [_part(shard, question) for shard in _shards_of(question)]
    if (refused := next((part for part in parts if part["outcome"] == REFUSED), None)) is not None:
        return REFUSED, refused["text"], parts
    if (waits := next((part for part in parts if part["outcome"] == WAITS), None)) is not None:
        return WAITS, waits["text"], parts
    if not parts:
        return _refused(CLUSTERDOWN)
    return SERVED, _served(question, parts), parts


def _refused(text: str) -> Decision:
    return REFUSED, text, []


def _unknown(question: Question) -> str:
    return (
        f"the proxy does not know {shown(question.args[0])}: it asks the engines when it is first called, and"
        " answers unknown command where they do not know it either"
    )


def _asking(command: CommandFacts) -> str:
    return ", asking all shards for what it needs" if command.is_slow else ""


def _served(question: Question, parts: Sequence[dict[str, Any]]) -> str:
    if len(parts) > 1:
        joined = SPLIT_JOINS.get(question.command.join or "", "one reply")
        return f"it is split over {len(parts)} shards at once, and answered by {joined}"
    part = parts[0]
    nodes = " or ".join(part["candidates"])
    where = f"shard {part['label']} serves it, by {nodes}: {part['text']}"
    if question.command.route == "block":
        return f"{where}. While there is nothing its client waits in the proxy, or on a connection of its own"
    return where


def _shards_of(question: Question) -> list[ShardFacts]:
    """The shards that it would go to; without keys any will do, and that of slot 0 is taken."""
    if question.command.route in ("refused", "later", "local", "offload", "transaction", "pubsub"):
        return []
    if not question.command.is_known or not question.shards:
        return []
    wanted = {key.shard for key in question.keys}
    if len(wanted) > 1 and question.command.route != "split" and not question.is_relaxed:
        return []
    if not question.keys:
        return [question.shards[0]]
    return [shard for shard in question.shards if shard.index in wanted]


# --- one shard ---


def _part(shard: ShardFacts, question: Question) -> dict[str, Any]:
    keys = [key for key in question.keys if key.shard == shard.index]
    outcome, text, candidates = _place(shard, keys, question)
    return {
        "shard": shard.number,
        "label": shard.label,
        "keys": len(keys),
        "outcome": outcome,
        "text": text,
        "candidates": [str(node.address) for node in candidates],
        "nodes": [
            {
                "address": str(node.address),
                "role": "primary" if node.is_primary else "replica",
                "zone": node.zone,
                "state": node.state,
                "is_candidate": node in candidates,
                "why_not": "" if node in candidates else _why_not(node, question),
                "outstanding_bytes": node.outstanding,
                "lag": node.lag,
            }
            for node in shard.nodes
        ],
    }


def _place(
    shard: ShardFacts, keys: Sequence[KeyFacts], question: Question
) -> tuple[str, str, list[NodeFacts]]:
    is_read = question.command.is_read
    if _is_held(shard, keys, is_read=is_read):
        return WAITS, f"its slots of shard {shard.label} are held, while slots move or a backup begins", []
    if not is_read and question.endpoint is EndpointKind.READER:
        return REFUSED, READONLY, []
    if not is_read and shard.read_only is not None:
        return REFUSED, _tryagain(shard, shard.read_only), []
    if is_read and _spreads(question) and (found := readers(shard, question)):
        return SERVED, _why_readers(found, shard, question), found
    primary = shard.primary
    if primary is not None and primary.is_answering:
        return SERVED, _why_primary(question, shard) + _waits_for(question, shard), [primary]
    if shard.is_refused:
        return REFUSED, f"ERR shard {shard.label} is not served: {shard.why_not}", []
    return WAITS, _why_waits(shard, question), []


def _why_waits(shard: ShardFacts, question: Question) -> str:
    primary, park = shard.primary, question.timeouts.get("park", 0.0)
    then = f"it waits, unsent, up to {park:g} s (timeouts.park), and is refused with TRYAGAIN then"
    if primary is None:
        return f"shard {shard.label} has no primary: {then}"
    if not primary.is_silent:
        return f"the primary of shard {shard.label} cannot be reached ({primary.reason}): {then}"
    seconds = question.slow_after if question.command.is_slow else question.timeouts.get("reply", 0.0)
    return (
        f"the primary of shard {shard.label} is silent: it is sent there while its connection is open, and"
        f" its client hears of it within {seconds:g} s, or once another one is primary"
    )


def _tryagain(shard: ShardFacts, why: str) -> str:
    return f"TRYAGAIN shard {shard.label} cannot take the command: {why}; command not executed"


def _is_held(shard: ShardFacts, keys: Sequence[KeyFacts], *, is_read: bool) -> bool:
    if not shard.held or (is_read and shard.is_only_writes_held):
        return False
    return not keys or any(part.first <= (key.slot or 0) <= part.last for key in keys for part in shard.held)


def _spreads(question: Question) -> bool:
    """Whether reads may leave the primary."""
    if question.endpoint is EndpointKind.PRIMARY:
        return False
    return question.endpoint is EndpointKind.READER or question.reads != "primary"


def readers(shard: ShardFacts, question: Question) -> list[NodeFacts]:
    """Those that may answer a read there: with `nearest` those of the proxy's zone, if there are any."""
    takes_primary = question.reads == "nearest" and question.endpoint is not EndpointKind.READER
    fit = [
        node
        for node in shard.nodes
        if node.is_answering and (takes_primary if node.is_primary else node.is_readable)
    ]
    if question.reads != "nearest" or question.zone is None:
        return fit
    return [node for node in fit if node.zone == question.zone] or fit


def _why_readers(found: Sequence[NodeFacts], shard: ShardFacts, question: Question) -> str:
    by = "this endpoint reads from replicas" if question.endpoint is EndpointKind.READER else ""
    why = by or f"reads.from is {question.reads}"
    if question.reads == "nearest" and question.zone is not None:
        is_near = all(node.zone == question.zone for node in found)
        zone = (
            f"zone {question.zone} is the proxy's"
            if is_near
            else f"none is in the proxy's zone {question.zone}"
        )
        why = f"{why}, and {zone}"
    if len(found) > 1:
        why += "; of these the one with the least under way, in turn where several have as little"
    return why


def _why_primary(question: Question, shard: ShardFacts) -> str:
    if not question.command.is_read:
        return "it may write, and the primary takes writes"
    if question.endpoint is EndpointKind.PRIMARY:
        return "the primary endpoint asks primaries only"
    if not _spreads(question):
        return "reads.from is primary"
    return "no replica is fit to be read from now"


def _waits_for(question: Question, shard: ShardFacts) -> str:
    if question.command.is_read or not shard.wait:
        return ""
    return f", and {shard.wait} of its replicas have to have it before its client hears so (writes.wait)"


def _why_not(node: NodeFacts, question: Question) -> str:
    if not node.is_answering:
        return f"{node.state}: {node.reason}" if node.reason else node.state
    if not question.command.is_read:
        return "" if node.is_primary else "a replica takes no writes"
    if not _spreads(question):
        return "reads.from is primary" if not node.is_primary else ""
    if node.is_primary:
        if question.reads == "nearest" and question.endpoint is not EndpointKind.READER:
            return "it is in another zone"
        return "replicas answer reads"
    if not node.is_readable:
        return node.why_not_readable or f"its data may be older than {question.max_staleness:g} s"
    return "it is in another zone"


# --- what else is worth knowing ---


def _command(question: Question) -> dict[str, Any]:
    command = question.command
    return {
        "name": command.name,
        "is_known": command.is_known,
        "route": command.route,
        "kind": "read" if command.is_read else "write or other",
        "is_slow": command.is_slow,
        "note": command.note,
    }


def _allowed(access: AccessFacts) -> str:
    return "its rules allow it" if access.is_asked else "nobody has to log in, and everything is allowed"


def _key(key: KeyFacts, shards: Sequence[ShardFacts]) -> dict[str, Any]:
    shard = next((shard for shard in shards if shard.index == key.shard), None)
    return {
        "key": shown(key.key),
        "slot": key.slot,
        "tag": shown(key.tag) if key.tag is not None else None,
        "family": key.family,
        "shard": shard.number if shard is not None else None,
    }


def _limits(question: Question) -> dict[str, Any]:
    command = question.command
    return {
        "request_bytes": request_size(question.args),
        **{
            name: question.limits.get(name, 0)
            for name in ("request", "client_output", "in_flight", "shard_queue")
        },
        "timeouts": {name: question.timeouts.get(name, 0.0) for name in ("connect", "reply", "park")},
        "slow_after": question.slow_after if command.is_slow else None,
    }


def _rule(rule: RuleFacts | None) -> dict[str, Any] | None:
    return None if rule is None else {"match": rule.match, "text": rule.text}


def _read_your_writes(question: Question) -> str | None:
    """What a write changes for reads of its key that come soon after it."""
    if not (question.reads != "primary" or question.has_reader) or not question.keys:
        return None
    seconds = f"{question.max_staleness:g} s"
    if not question.command.is_read:
        return f"for {seconds} after it, reads of its keys through this proxy go to the primary"
    if not _spreads(question):
        return None
    return f"for {seconds} after a write of its keys through this proxy it goes to the primary instead"


def _without(shard: ShardFacts, question: Question) -> dict[str, Any]:
    """What would happen to the request were the shard's primary down now."""
    loss = shard.loss
    promoted = str(loss.promoted) if loss is not None and loss.promoted is not None else None
    goes_on = [
        str(node.address)
        for node in (readers(shard, question) if question.command.is_read and _spreads(question) else ())
        if not node.is_primary
    ]
    return {
        "shard": shard.number,
        "label": shard.label,
        "promoted": promoted,
        "why": loss.why if loss is not None else "there are no replicas in this engine",
        "refused": [{"address": str(node), "why": why} for node, why in (loss.refused if loss else ())],
        "reads_go_on_at": goes_on,
        "text": " ".join(_without_text(promoted, goes_on, question)),
    }


def _without_text(promoted: str | None, goes_on: Sequence[str], question: Question) -> Iterator[str]:
    park = question.timeouts.get("park", 0.0)
    if goes_on:
        yield f"It would go on at {', '.join(goes_on)}."
        return
    if promoted is not None:
        yield f"It would wait, unsent, until {promoted} is promoted, up to {park:g} s (timeouts.park)."
    else:
        yield f"It would wait up to {park:g} s (timeouts.park), and be refused: nobody is promoted."
    if not question.command.is_read:
        yield "Had it been sent already, its client would hear INDOUBT."


def request_size(args: Sequence[bytes]) -> int:
    """Bytes of a request as clients send it."""
    return len(b"*%d\r\n" % len(args)) + sum(len(b"$%d\r\n" % len(word)) + len(word) + 2 for word in args)
