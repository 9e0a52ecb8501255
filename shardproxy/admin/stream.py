"""GET /api/stream: what is shown, as it changes (server-sent events).

    state  {"process", "status", "topology", "jobs", "events"}: all of them first, then those that changed
    rates  once a second: see rates.py

One producer looks once a second, and only while somebody reads: it reads the counters once for all documents,
and encodes each once for all readers, those who come within the second too. A reader that is some messages
behind is dropped. A stream ends after a while: whoever wants more asks again.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from shardproxy.admin.lifetime import extend
from shardproxy.admin.rates import Snapshot, rates_document
from shardproxy.admin.status import Sources
from shardproxy.admin.whole import events_now, jobs_now, process_now, status_now, topology_now
from shardproxy.dataplane.statistics import Statistics

TICK = 1.0  # seconds
SPAN = 6  # looks that percentiles are of: five seconds
RECENT = 3.0  # seconds within which a reader that is back has rates at once
REFRESH = 5.0  # seconds between what only its ages and counts have changed of
EVENTS = 100  # the newest
MAX_READERS = 32
MAX_BEHIND = 8  # messages a reader may have before it, beside what the connection holds
MAX_AGE = 50.0  # seconds of one stream: then whoever reads has to be let in anew

# What differs every time somebody looks says nothing new by itself.
VOLATILE = frozenset(
    {"since", "lag", "connections", "clients", "seconds", "caching", "relaxed", "scaling", "waits"}
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Look:
    """All documents of one moment (trio time), as values and as JSON."""

    at: float
    statistics: Statistics
    documents: Mapping[str, dict[str, Any]]
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sent:
    """A document as it was told last; `steady` is what is told at once when it changes."""

    steady: Any
    text: str
    at: float


class Stream:
    """Everybody who follows, and the one who looks for them."""

    def __init__(self, sources: Sources, headers: dict[str, str]) -> None:
        self._sources = sources
        self._headers = {
            **headers,
            "content-type": "text/event-stream",
            "x-accel-buffering": "no",  # a proxy before us passes on what is there
        }
        self._readers: set[trio.MemorySendChannel[bytes]] = set()
        self._wanted = trio.Event()
        self._looks: deque[Snapshot] = deque(maxlen=SPAN)
        self._last: Look | None = None
        self._told: Look | None = None  # the last one that all have heard of
        self._sent: dict[str, Sent] = {}  # by document

    @property
    def readers(self) -> int:
        return len(self._readers)

    async def run(self) -> None:
        """Look for those who read until cancelled; a look that fails ends their streams and no more."""
        while True:
            await self._wanted.wait()
            try:
                while self._readers:
                    look = self._untold() or self._look()
                    self._told = look
                    self._tell(self._changes(look))
                    self._tell(self._rates(look))
                    await trio.sleep(TICK)
            except Exception as error:
                log.error("stream failed", exc_info=error)
                for reader in list(self._readers):
                    self._drop(reader)
                await trio.sleep(TICK)  # whoever asks again at once has it fail no faster
            self._wanted = trio.Event()
            if self._readers:
                self._wanted.set()

    async def page(self, request: Request) -> Response:
        """Serve one reader."""
        if len(self._readers) >= MAX_READERS:
            return self._refuse(
                503, f"{MAX_READERS} follow already, and no more may: ask /api/status instead"
            )
        return _Followed(self, self._headers)

    def _refuse(self, status: int, why: str) -> Response:
        headers = {name: value for name, value in self._headers.items() if name != "content-type"}
        return JSONResponse({"error": why}, status_code=status, headers=headers)

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[tuple[bytes, trio.MemoryReceiveChannel[bytes]]]:
        """All that is known now, and what comes; it ends for whoever is too far behind."""
        reader, messages = trio.open_memory_channel[bytes](MAX_BEHIND)
        self._readers.add(reader)
        try:
            async with messages:
                first = _message("state", _spliced((self._recent() or self._look()).texts))
                self._wanted.set()
                yield first, messages
        finally:
            self._drop(reader)

    def _drop(self, reader: trio.MemorySendChannel[bytes]) -> None:
        self._readers.discard(reader)
        reader.close()

    def _tell(self, message: bytes) -> None:
        for reader in list(self._readers):
            try:
                if message:
                    reader.send_nowait(message)
            except (trio.WouldBlock, trio.BrokenResourceError):
                self._drop(reader)

    def _recent(self) -> Look | None:
        """The last look, where it is no older than looks become."""
        last = self._last
        return last if last is not None and trio.current_time() - last.at < TICK else None

    def _untold(self) -> Look | None:
        """One that was made for a reader who has just come."""
        recent = self._recent()
        return recent if recent is not self._told else None

    def _look(self) -> Look:
        sources, now = self._sources, trio.current_time()
        statistics = sources.statistics()  # of all nodes and workers: by far the most of a look
        documents = {
            "process": process_now(sources),
            "status": status_now(sources, now, statistics),
            "topology": topology_now(sources, statistics),
            "jobs": jobs_now(sources),
            "events": events_now(sources, EVENTS),
        }
        texts = {name: _json(document) for name, document in documents.items()}
        self._last = Look(now, statistics, documents, texts)
        return self._last

    def _changes(self, look: Look) -> bytes:
        """Documents that say something new, or are old; empty where there is none."""
        changed: dict[str, str] = {}
        for name, text in look.texts.items():
            before = self._sent.get(name)
            if before is not None and text == before.text:
                continue
            steady = steady_of(look.documents[name])
            if before is not None and steady == before.steady and look.at - before.at < REFRESH:
                continue
            self._sent[name] = Sent(steady, text, look.at)
            changed[name] = text
        return _message("state", _spliced(changed)) if changed else b""

    def _rates(self, look: Look) -> bytes:
        if self._looks and look.at - self._looks[-1].at > RECENT:
            self._looks.clear()
        self._looks.append(Snapshot(look.at, look.statistics))
        return _message("rates", _json(rates_document(self._looks, self._sources.topologies)))


class _Followed(Response):
    """The answer to one reader: until it leaves, is dropped, or has read for so long."""

    def __init__(self, stream: Stream, headers: dict[str, str]) -> None:
        super().__init__(headers=headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        async with self._stream.follow() as (first, messages), trio.open_nursery() as nursery:
            nursery.start_soon(_wait_gone, receive, nursery.cancel_scope)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"retry: 1000\n\n" + first, "more_body": True})
            with trio.move_on_after(MAX_AGE):
                async for message in messages:
                    await send({"type": "http.response.body", "body": message, "more_body": True})
                    extend(scope)  # it was taken
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            nursery.cancel_scope.cancel()


async def _wait_gone(receive: Receive, answering: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    answering.cancel()


def steady_of(value: Any) -> Any:
    """A document without what is volatile."""
    if isinstance(value, dict):
        return {key: steady_of(one) for key, one in value.items() if key not in VOLATILE}
    return [steady_of(one) for one in value] if isinstance(value, list) else value


def _message(event: str, text: str) -> bytes:
    return f"event: {event}\ndata: {text}\n\n".encode()


def _spliced(texts: Mapping[str, str]) -> str:
    """One JSON object of what is JSON already; names need no escaping."""
    return "{" + ",".join(f'"{name}":{text}' for name, text in texts.items()) + "}"


def _json(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)
