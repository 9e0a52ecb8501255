"""What an operator may have done over HTTP: POST with a JSON object, answered by what became of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shardproxy.access.audit import Audit
from shardproxy.admin.gate import caller_of
from shardproxy.admin.naming import shard_called, why_no_shard
from shardproxy.failover.controls import Controls
from shardproxy.failover.event_log import EventLog
from shardproxy.failover.events import EventName
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.topology.sources.source import Source

MAX_BODY = 10_000  # bytes
MAX_NOTED = 256  # characters of a name in the audit log


class RequestError(Exception):
    """The request cannot be understood, or names what is not there."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


Action = Callable[[dict[str, Any]], Awaitable[str | None]]  # why it was not done, or None


class Actions:
    """One method an action."""

    def __init__(
        self,
        controls: Controls,
        events: EventLog,
        setups: Mapping[ShardKey, ShardSetup],
        deciders: Mapping[str, Source],  # of clusters that others decide about
    ) -> None:
        self._controls = controls
        self._events = events
        self._setups = setups
        self._deciders = deciders

    async def switchover(self, asked: dict[str, Any]) -> str | None:
        """Hand a shard over to a replica that is in sync."""
        to = self._node(asked) if asked.get("to") is not None else None
        key = self._shard(asked)
        if (decider := self._decider(asked)) is not None:
            return await decider.switch_over(key, to)
        return await self._controls.switch_over(key, to)

    async def failover_test(self, asked: dict[str, Any]) -> str | None:
        """The same, as ElastiCache's TestFailover."""
        key = self._shard(asked)
        if (decider := self._decider(asked)) is not None:
            return await decider.switch_over(key, None)
        return await self._controls.switch_over(key, is_test=True)

    async def promote(self, asked: dict[str, Any]) -> str | None:
        """Make a node the primary whatever its data."""
        key, to = self._shard(asked), self._node(asked)
        if (decider := self._decider(asked)) is not None:
            return await decider.promote(key, to)
        return await self._controls.promote(key, to)

    async def acknowledge(self, asked: dict[str, Any]) -> str | None:
        """The next failover of a shard need not wait."""
        key = self._shard(asked)
        if (decider := self._decider(asked)) is not None:
            return decider.why_not("acknowledge")
        return await self._noted(self._controls.acknowledge(key))

    async def pause(self, asked: dict[str, Any]) -> str | None:
        """Nothing is done to the nodes of a cluster unless asked for; a failover under way is finished."""
        cluster = self._cluster(asked)
        if (decider := self._decider(asked)) is not None:
            return decider.why_not("pause")
        if (why := await self._noted(self._controls.pause(cluster))) is None:
            self._tell(EventName.AUTOMATIC_FAILOVER_PAUSED, cluster)
        return why

    async def resume(self, asked: dict[str, Any]) -> str | None:
        cluster = self._cluster(asked)
        if (decider := self._decider(asked)) is not None:
            return decider.why_not("resume")
        if (why := await self._noted(self._controls.resume(cluster))) is None:
            self._tell(EventName.AUTOMATIC_FAILOVER_RESUMED, cluster)
        return why

    async def _noted(self, wish: Awaitable[None]) -> str | None:
        """Have all proxies know of it, also after a restart; why they do not."""
        try:
            await wish
        except StoreUnavailableError as error:
            return f"nothing was done: the store is not available: {error}"
        return None

    def _tell(self, name: EventName, cluster: str) -> None:
        what = "nothing is done" if name is EventName.AUTOMATIC_FAILOVER_PAUSED else "what they need is done"
        self._events.add(name, ShardKey(cluster, 0), f"{what} to the nodes of {cluster} by itself")

    def _decider(self, asked: dict[str, Any]) -> Source | None:
        """Who decides instead of us about the cluster, where somebody does."""
        return self._deciders.get(self._cluster(asked))

    def _cluster(self, asked: dict[str, Any]) -> str:
        cluster = asked.get("cluster")
        known = sorted({key.cluster for key in self._setups})
        if cluster not in known:
            raise RequestError(
                404, f"no cluster {cluster!r} with replication; there is: {', '.join(known) or 'none'}"
            )
        return str(cluster)

    def _shard(self, asked: dict[str, Any]) -> ShardKey:
        cluster = self._cluster(asked)
        setups = [setup for key, setup in self._setups.items() if key.cluster == cluster]
        key = shard_called(asked.get("shard"), setups)
        if key is None:
            raise RequestError(404, why_no_shard(cluster, asked.get("shard"), setups))
        return key

    def _node(self, asked: dict[str, Any]) -> Address:
        try:
            return Address.parse(str(asked.get("to")))
        except ValueError as error:
            raise RequestError(400, str(error)) from error


def action_page(
    name: str, action: Action, audit: Audit, headers: dict[str, str]
) -> Callable[[Request], Awaitable[Response]]:
    """Serve an action: 200 when it was done, 409 with the reason when not."""

    async def page(request: Request) -> Response:
        asked: dict[str, Any] = {}
        try:
            asked = await body_read(request)
            status, why_not = 409, await action(asked)
        except RequestError as error:
            status, why_not = error.status, str(error)
        action_note(audit, request, name, asked, why_not)
        if why_not is not None:
            return JSONResponse({"error": why_not}, status_code=status, headers=headers)
        return JSONResponse({"done": True}, headers=headers)

    return page


def action_note(
    audit: Audit, request: Request, name: str, asked: dict[str, Any], why_not: str | None
) -> None:
    """Have the audit log say who asked for what, and why it was not done."""
    named = ((key, asked.get(key)) for key in ("cluster", "shard", "to", "id"))
    target = {key: str(value)[:MAX_NOTED] for key, value in named if value is not None}
    if asked.get("kind") is not None:
        target["work"] = str(asked["kind"])[:MAX_NOTED]
    caller, address = caller_of(request)
    audit.note("admin_action", user=caller, address=address, action=name, **target, why=why_not or "")


async def body_read(request: Request, at_most: int = MAX_BODY) -> dict[str, Any]:
    """The JSON object that was sent, of so many bytes; raise RequestError.

    What cannot be sent back as JSON is none: numbers that are no numbers, halves of characters.
    """
    if request.headers.get("content-type", "").split(";")[0] != "application/json":
        # also what keeps a web page in an operator's browser from sending it: browsers ask first
        raise RequestError(415, "send a JSON object as application/json")
    body = b""
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > at_most:
                raise RequestError(413, f"more than {at_most} bytes")
    try:
        asked = json.loads(body, parse_constant=_refuse)
        json.dumps(asked, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RequestError(400, "not JSON: half a character (a lone surrogate)") from None
    except RecursionError:
        raise RequestError(400, "not JSON that is read here: too deep") from None
    except ValueError as error:
        raise RequestError(400, f"not JSON: {error}") from error
    if not isinstance(asked, dict):
        raise RequestError(400, "send a JSON object")
    return asked


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
