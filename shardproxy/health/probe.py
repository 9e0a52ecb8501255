"""One question to one node. Thin: sends, receives, classifies; decides nothing.

Always asked: PING. When facts are due: INFO replication, and how often it pings its replicas while that is
too rarely. On a new connection, which may be one to another process, and now and then: all that, who it is,
what it counts, who else manages it, and how much it takes from a connection.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import trio

from shardproxy.health.manager import Survey, decider_name, manager_of, observer_name
from shardproxy.health.outcome import Outcome, ProbeResult, outcome_of_error
from shardproxy.health.slow import SLOW_LOG, read_slow
from shardproxy.health.vitals import read_vitals
from shardproxy.model.health import EngineLimits
from shardproxy.nodes import Batch, NodeError, NodeTimeout, NodeUnreachable
from shardproxy.wire.info import InfoError, read_announced, read_fields, read_replication, read_server
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument, ProtocolError

Requests = Sequence[Sequence[Argument]]

PING_PERIOD = "repl-ping-replica-period"
MAX_BULK = "proto-max-bulk-len"
MAX_QUERY = "client-query-buffer-limit"
SENTINEL_CHANNEL = "__sentinel__:hello"  # every Sentinel subscribes to it on every node it watches


class Link(Protocol):
    """A connection to one node that opens itself (NodeLink is one)."""

    async def request_many(self, requests: Requests, *, timeout: float | None = None) -> list[Reply]:
        """A reply for each; raise NodeError when it cannot log in, NodeUnreachable or NodeTimeout."""

    async def wait_closed(self) -> None:
        """Wait until the node ends the connection, for ever when none is open."""

    @property
    def opened(self) -> int:
        """How many connections it has opened."""

    @property
    def peer(self) -> str:
        """The IP address the node was last reached at, or nothing."""

    def close(self) -> None: ...


class Depth(enum.IntEnum):
    """How much is asked."""

    PING = 0
    INFO = 1
    PERIOD = 2  # INFO, and how often it pings its replicas
    SURVEY = 3  # that, who it is, what it counts, who else manages it, and its limits


_PING = ("PING",)
_INFO = (_PING, ("INFO", "replication"))
_PERIOD = (*_INFO, ("CONFIG", "GET", PING_PERIOD))
_SURVEY = (
    *_PERIOD,
    ("INFO", "server"),  # by itself: a narrow user may ask for this section, and not for all
    ("INFO",),
    ("CONFIG", "GET", "replica-announce-*"),
    ("PUBSUB", "NUMSUB", SENTINEL_CHANNEL),
    ("CLIENT", "LIST", "TYPE", "normal"),
    ("CONFIG", "GET", MAX_BULK),
    ("CONFIG", "GET", MAX_QUERY),
    ("SLOWLOG", "GET", SLOW_LOG),
)
BATCHES = {Depth.PING: Batch(_PING), Depth.INFO: Batch(*_INFO), Depth.PERIOD: Batch(*_PERIOD)}


def _decides() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Asker:
    """Who we are to a node: other proxies of the same group are no strangers, and observers are nobody's."""

    group: str
    timeout: float
    is_observer: Callable[[], bool] = field(default=_decides)
    is_delegated: Callable[[], bool] = field(default=_decides)

    @property
    def client_name(self) -> str:
        return observer_name(self.group) if self.is_observer() else decider_name(self.group)


async def probe(
    link: Link, depth: Depth, asker: Asker, connection: int | None, *, was_closed: bool = False
) -> ProbeResult:
    """Ask a node; `connection` is which it was last time, `was_closed` that the node has ended it since."""
    result = await _probe(link, depth, asker, connection)
    return replace(result, was_closed=was_closed)


async def _probe(link: Link, depth: Depth, asker: Asker, connection: int | None) -> ProbeResult:
    asked_at = trio.current_time()
    try:
        result = await _ask(link, depth, asker, asked_at)
        if result.connection is not None and result.connection != connection and depth < Depth.SURVEY:
            result = await _ask(link, Depth.SURVEY, asker, asked_at)
    except NodeError as error:
        return failed(asked_at, outcome_of_error(error.failure.text), error.failure.text)
    except NodeTimeout as error:
        return failed(asked_at, Outcome.TIMEOUT, error.why, is_unreached=not error.is_taken)
    except NodeUnreachable as error:
        outcome = Outcome.REFUSED if _is_refused(error) else Outcome.LOST
        return failed(asked_at, outcome, error.why, is_unreached=not _is_answered(error))
    except InfoError as error:
        return failed(asked_at, Outcome.LOST, str(error))
    return result


async def _ask(link: Link, depth: Depth, asker: Asker, asked_at: float) -> ProbeResult:
    name = ""
    if depth is Depth.SURVEY:
        name = asker.client_name
        requests: Requests = (*_SURVEY, ("CLIENT", "SETNAME", name))
    else:
        requests = BATCHES[depth]
    replies = await link.request_many(requests, timeout=asker.timeout)
    result = read_result(depth, replies, link, asked_at, trio.current_time())
    if depth is Depth.SURVEY:
        return _with_survey(result, asker, name, replies)
    return result


def read_result(depth: Depth, replies: list[Reply], link: Link, asked_at: float, at: float) -> ProbeResult:
    """What the replies to PING, and to INFO where that was asked, say; raise InfoError."""
    ping = replies[0]
    if isinstance(ping, Failure):
        outcome, detail = outcome_of_error(ping.text), ping.text
    else:
        outcome, detail = Outcome.PONG, ""
    if depth is Depth.PING:
        return ProbeResult(asked_at, at, outcome, detail, connection=link.opened)
    replication = replies[1]  # a node that answers PING may still refuse INFO: then there are no facts
    return ProbeResult(
        asked_at,
        at,
        outcome,
        detail,
        connection=link.opened,
        replication=None if isinstance(replication, Failure) else read_replication(read_fields(replication)),
        ping_period=_number(replies[2]) if depth >= Depth.PERIOD else None,
        peer=link.peer,
    )


def _number(config: Reply) -> int | None:
    """The value in a reply to CONFIG GET, where it is one number."""
    match config:
        case [bytes(), bytes() as text] if text.isdigit():
            return int(text)
    return None


def _with_survey(result: ProbeResult, asker: Asker, name: str, replies: list[Reply]) -> ProbeResult:
    said, figures, announced, subscribers, clients, bulk, query, log = replies[3:11]
    server = None if isinstance(said, Failure) else read_server(read_fields(said))
    survey = Survey(mode=server.mode if server else "standalone", subscribers=subscribers, clients=clients)
    return replace(
        result,
        server=server,
        manager=manager_of(survey, asker.group, is_delegated=asker.is_delegated()),
        is_surveyed=True,
        named=name,
        announced=read_announced(announced),
        limits=_limits(bulk, query),
        slow=read_slow(log),
        vitals=None if isinstance(figures, Failure) else read_vitals(read_fields(figures), result.at),
    )


def _limits(bulk: Reply, query: Reply) -> EngineLimits | None:
    """What it takes from a connection; one that may not be asked has what engines have by default."""
    most, total = _number(bulk), _number(query)
    return None if most is None or total is None else EngineLimits(most, total)


def failed(asked_at: float, outcome: Outcome, detail: str, *, is_unreached: bool = False) -> ProbeResult:
    """A question that got no answer."""
    return ProbeResult(asked_at, trio.current_time(), outcome, detail, is_unreached=is_unreached)


def _is_answered(error: NodeUnreachable) -> bool:
    """Whether it was the node, or its host, that ended it."""
    return isinstance(error.__cause__, (EOFError, ConnectionError, ProtocolError, InfoError))


def _is_refused(error: NodeUnreachable) -> bool:
    """Whether nobody listens at any of the node's addresses."""
    return isinstance(error.__cause__, ConnectionRefusedError)
