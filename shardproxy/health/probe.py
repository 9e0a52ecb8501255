"""One question to one node. Thin: sends, receives, classifies; decides nothing.

Always asked: PING. When facts are due: INFO, and how often it pings its replicas. On a new connection, which
may be one to another process, and now and then: all that, and who else manages it.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import trio

from shardproxy.health.manager import Survey, manager_of
from shardproxy.health.outcome import Outcome, ProbeResult, outcome_of_error
from shardproxy.nodes import NodeError, NodeTimeout, NodeUnreachable
from shardproxy.wire.info import InfoError, read_fields, read_replication, read_server
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument

Requests = Sequence[Sequence[Argument]]

PING_PERIOD = "repl-ping-replica-period"
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

    def close(self) -> None: ...


class Depth(enum.IntEnum):
    """How much is asked."""

    PING = 0
    INFO = 1
    SURVEY = 2  # INFO, and who else manages this node


@dataclass(frozen=True, slots=True)
class Asker:
    """Who we are to a node: other proxies of the same group are no strangers."""

    group: str
    timeout: float

    @property
    def client_name(self) -> str:
        return f"shardproxy:{self.group}"


async def probe(
    link: Link, depth: Depth, asker: Asker, connection: int | None, *, was_closed: bool = False
) -> ProbeResult:
    """Ask a node; `connection` is which it was last time, `was_closed` that the node has ended it since."""
    result = await _probe(link, depth, asker, connection)
    return replace(result, was_closed=was_closed)


async def _probe(link: Link, depth: Depth, asker: Asker, connection: int | None) -> ProbeResult:
    asked_at = trio.current_time()
    try:
        result = await _ask(link, depth, asker)
        if result.connection is not None and result.connection != connection and depth < Depth.SURVEY:
            result = await _ask(link, Depth.SURVEY, asker)
    except NodeError as error:
        return _result(asked_at, outcome_of_error(error.failure.text), error.failure.text)
    except NodeTimeout as error:
        return _result(asked_at, Outcome.TIMEOUT, error.why)
    except NodeUnreachable as error:
        outcome = Outcome.REFUSED if _is_refused(error) else Outcome.LOST
        return _result(asked_at, outcome, error.why)
    except InfoError as error:
        return _result(asked_at, Outcome.LOST, str(error))
    return replace(result, asked_at=asked_at, at=trio.current_time())


async def _ask(link: Link, depth: Depth, asker: Asker) -> ProbeResult:
    requests: list[tuple[Argument, ...]] = [("PING",)]
    if depth >= Depth.INFO:
        requests += [("INFO", "server"), ("INFO", "replication"), ("CONFIG", "GET", PING_PERIOD)]
    if depth >= Depth.SURVEY:
        requests += [
            ("PUBSUB", "NUMSUB", SENTINEL_CHANNEL),
            ("CLIENT", "LIST", "TYPE", "normal"),
            ("CLIENT", "SETNAME", asker.client_name),
        ]
    replies = await link.request_many(requests, timeout=asker.timeout)
    ping = replies[0]
    result = ProbeResult(
        asked_at=0.0,
        at=0.0,
        outcome=outcome_of_error(ping.text) if isinstance(ping, Failure) else Outcome.PONG,
        detail=ping.text if isinstance(ping, Failure) else "",
        connection=link.opened,
    )
    if depth >= Depth.INFO:
        result = _with_info(result, *replies[1:4])
    if depth >= Depth.SURVEY:
        result = _with_survey(result, asker, *replies[4:6])
    return result


def _with_info(result: ProbeResult, server: Reply, replication: Reply, config: Reply) -> ProbeResult:
    """A node that answers PING may still refuse INFO: then there are no facts."""
    match config:
        case [bytes(), bytes() as text] if text.isdigit():
            result = replace(result, ping_period=float(text))
    if isinstance(server, Failure) or isinstance(replication, Failure):
        return result
    return replace(
        result,
        server=read_server(read_fields(server)),
        replication=read_replication(read_fields(replication)),
    )


def _with_survey(result: ProbeResult, asker: Asker, subscribers: Reply, clients: Reply) -> ProbeResult:
    mode = result.server.mode if result.server else "standalone"
    survey = Survey(mode=mode, subscribers=subscribers, clients=clients)
    return replace(result, manager=manager_of(survey, asker.client_name), is_surveyed=True)


def _result(asked_at: float, outcome: Outcome, detail: str) -> ProbeResult:
    return ProbeResult(asked_at=asked_at, at=trio.current_time(), outcome=outcome, detail=detail)


def _is_refused(error: NodeUnreachable) -> bool:
    """Whether ECONNREFUSED is below: trio wraps the errors of connecting, once per address tried."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, BaseExceptionGroup):
            below = below.exceptions[-1]
        if isinstance(below, OSError) and below.errno == errno.ECONNREFUSED:
            return True
        below = below.__cause__
    return False
