"""What took long, and how much of that was the engine's. Pure.

The workers know how long a request was at its node. How much of that the node worked on it, the node's own
slow log knows, where it has the command; the rest is the network's, or that the node had others to serve.
What it served meanwhile that took most of the time is named: its command, and no argument.

Of replies that came at once the workers do not know which of them was waited for, and say of each that its
node took all that time: the node's own log tells whose it was, and the others waited for that one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shardproxy.dataplane.timings import TimedRequest
from shardproxy.model.text import shown
from shardproxy.wire.reply import Reply

LONG = 5_000  # microseconds: what took less is no reason
EXEC = "exec"
CLOCKS = 2.0  # seconds that clocks may differ by, and engines round to


@dataclass(frozen=True, slots=True)
class EngineCall:
    """An entry of a node's slow log."""

    node: str
    at: float  # seconds since 1970, by the node's clock
    microseconds: int
    words: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SlowRequest:
    """A request that took long, with the engine's part where that is known."""

    request: TimedRequest
    engine: int | None = None  # microseconds
    behind: EngineCall | None = None  # what its node did instead
    is_joint: bool = False  # that was answered with it

    @property
    def phases(self) -> Mapping[str, int | None]:
        """Microseconds by phase, None where it is not known; `upstream` is without `engine`."""
        phases, waited, upstream = (
            self.request.phases,
            self.request.phases.waited,
            self.request.phases.upstream,
        )
        if upstream is not None and self.engine is not None:
            upstream -= self.engine
        if upstream is not None and waited is not None and self.behind is not None and self.is_joint:
            moved = min(self.behind.microseconds, upstream)
            waited, upstream = waited + moved, upstream - moved
        return {
            "waited": waited,
            "parked": phases.parked,
            "upstream": upstream,
            "engine": self.engine,
            "client": phases.client,
        }


def calls_read(node: str, log: Reply) -> tuple[EngineCall, ...]:
    """From SLOWLOG GET; what is no such entry, or an error, says nothing."""
    found = []
    for entry in log if isinstance(log, list) else ():
        match entry:
            case [int(), int() as at, int() as micros, [bytes() as name, *more], *_]:
                words = (name, *(word for word in more if isinstance(word, bytes)))
                found.append(EngineCall(node, at, micros, words))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Log:
    """Calls of one node, by their time."""

    calls: tuple[EngineCall, ...] = ()

    @classmethod
    def of(cls, calls: Iterable[EngineCall]) -> _Log:
        return cls(tuple(sorted(calls, key=_at)))

    def during(self, request: TimedRequest) -> Sequence[EngineCall]:
        """Those that may have run while the request was there, the longest first."""
        begun, ended = request.at / 1e6, (request.at + request.microseconds) / 1e6
        first = bisect_left(self.calls, begun - CLOCKS, key=_at)
        behind = bisect_right(self.calls, ended + CLOCKS, key=_at)
        return sorted(self.calls[first:behind], key=lambda call: -call.microseconds)


_NOTHING = _Log()


class _Logs:
    """What the nodes' logs have, by node and by command, and which request each call was."""

    def __init__(self, calls: Iterable[EngineCall]) -> None:
        of_node: defaultdict[str, list[EngineCall]] = defaultdict(list)
        of_command: defaultdict[tuple[str, bytes], list[EngineCall]] = defaultdict(list)
        for call in calls:
            of_node[call.node].append(call)
            of_command[call.node, _first(call.words)].append(call)
        self._nodes = {node: _Log.of(found) for node, found in of_node.items()}
        self._commands = {named: _Log.of(found) for named, found in of_command.items()}
        self._whose: dict[int, TimedRequest] = {}  # by the call's identity: two may be alike

    def engine(self, request: TimedRequest) -> int | None:
        """Microseconds of the calls that are about it, which no other request has any more."""
        own = self._own(request)
        self._whose.update((id(call), request) for call in own)
        return sum(call.microseconds for call in own) if own else None

    def _own(self, request: TimedRequest) -> list[EngineCall]:
        """One call, or of a transaction those of its commands: no node logs EXEC, but what is executed."""
        is_exec = request.command == EXEC
        named = (request.node, _first(request.arguments))
        log = self._nodes.get(request.node, _NOTHING) if is_exec else self._commands.get(named, _NOTHING)
        own, left = [], request.phases.upstream or 0
        for call in log.during(request):
            if call.microseconds <= left and id(call) not in self._whose and _is_about(call, request):
                own.append(call)
                left -= call.microseconds
                if not is_exec:
                    break
        return own

    def delayed(self, request: TimedRequest) -> SlowRequest:
        """One of which its node's log has nothing, behind what it may have waited for."""
        there = self._nodes.get(request.node, _NOTHING).during(request)
        behind = next((call for call in there if _is_before(call, request)), None)
        other = self._whose.get(id(behind))
        is_joint = (
            behind is not None
            and other is not None
            and abs(_answered(other) - _answered(request)) <= behind.microseconds / 2
        )
        return SlowRequest(request, behind=behind, is_joint=is_joint)


def slow_requests(requests: Sequence[TimedRequest], calls: Iterable[EngineCall]) -> tuple[SlowRequest, ...]:
    """Each with what its node's log says of it; no entry of a log is about two requests."""
    logs = _Logs(calls)
    engine = [logs.engine(request) for request in requests]
    return tuple(
        logs.delayed(request) if micros is None else SlowRequest(request, micros)
        for request, micros in zip(requests, engine, strict=True)
    )


def _at(call: EngineCall) -> float:
    return call.at


def _answered(request: TimedRequest) -> int:
    """When its node had answered it: microseconds since 1970."""
    phases = request.phases
    return request.at + (phases.waited or 0) + (phases.parked or 0) + (phases.upstream or 0)


def _is_about(call: EngineCall, request: TimedRequest) -> bool:
    """Whether a call at its node and time, of its command if it is one, is this one."""
    if request.command == EXEC:
        return any(key in call.words for key in request.arguments[1:])
    return request.key is None or request.key in call.words


def _is_before(call: EngineCall, request: TimedRequest) -> bool:
    """Whether most of the time that a request was at its node the node may have been at this."""
    return call.microseconds >= max(LONG, (request.phases.upstream or 0) / 2) and bool(
        request.phases.upstream
    )


def _first(words: Sequence[bytes]) -> bytes:
    return words[0].lower() if words else b""


def slow_entry(slow: SlowRequest) -> dict[str, object]:
    """As the admin API has it."""
    request = slow.request
    return {
        "id": request.id,
        "at": request.at / 1e6,
        "microseconds": request.microseconds,
        "phases": dict(slow.phases),
        "command": request.command,
        "arguments": [shown(argument) for argument in request.arguments],
        "client": request.client,
        "name": shown(request.name),
        "user": request.user,
        "shard": request.shard,
        "node": request.node or None,
        "outcome": request.outcome,
        "behind": None if slow.behind is None else _named(slow.behind),
    }


def _named(call: EngineCall) -> dict[str, object]:
    """Without its arguments: the node's log has values among them."""
    return {"command": shown(_first(call.words)), "microseconds": call.microseconds}


def trace_line(request: TimedRequest) -> dict[str, object]:
    """A request that is traced, as the admin API has it."""
    phases = SlowRequest(request).phases
    return {
        "at": request.at / 1e6,
        "client": request.client,
        "user": request.user,
        "command": request.command,
        "key": None if request.key is None else shown(request.key),
        "slot": request.slot,
        "shard": request.shard,
        "node": request.node or None,
        "microseconds": request.microseconds,
        "phases": {name: value for name, value in phases.items() if name != "engine"},
        "request_bytes": request.request_bytes,
        "reply_bytes": request.reply_bytes,
        "outcome": request.outcome,
    }
