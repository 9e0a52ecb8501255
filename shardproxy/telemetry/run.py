"""The service that sends spans: workers sample, this takes what they sampled, and a thread sends it.

    workers ─> bounded queue ─> batches, one at a time ─> the exporter of OpenTelemetry's SDK ─> collector

While the collector is slow the queue fills, and what finds no room is dropped and counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, TypeVarTuple

import structlog
import trio

from shardproxy.config import Cluster, SecretError
from shardproxy.config.telemetry import Otlp
from shardproxy.dataplane.timings import TimedRequest
from shardproxy.telemetry.statistics import SpanStatistics

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

BATCH = 512  # requests
PAUSE = 1.0  # seconds after a batch that is not full
BREATH = 0.05  # seconds after one that is: making spans takes the GIL
AGAIN = 60.0  # seconds until what failed is opened anew
TIMEOUT = 10.0  # seconds for a batch, tries again included
PATH = "/v1/traces"
MISSING = "spans need OpenTelemetry's SDK: pip install 'shardproxy[otel]'"

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

log = structlog.get_logger()


class Sampled(Protocol):
    """The part of the data plane that samples."""

    def sample(self, share: float, queue: int) -> None: ...

    def spans(self, most: int) -> tuple[Sequence[TimedRequest], int]: ...


async def run_telemetry(
    sampled: Sampled,
    otlp_now: Callable[[], Otlp | None],
    clusters_now: Callable[[], Mapping[str, Cluster]],
    process: str,
    statistics: SpanStatistics,
) -> None:
    """Send spans as the config of the moment says, until cancelled."""
    known: Otlp | None = None
    outlet = Outlet()
    while True:
        if (wanted := otlp_now()) != known or outlet.is_due:
            known = wanted
            is_open = await outlet.renew(wanted)
            sampled.sample(wanted.sample if wanted and is_open else 0.0, wanted.queue if wanted else 0)
        is_full = False
        if outlet.is_open:
            requests, statistics.dropped = sampled.spans(BATCH)
            is_full = len(requests) == BATCH
            systems = {name: cluster.kind.value for name, cluster in clusters_now().items()}
            if requests:
                if await outlet.send(requests, process, systems):
                    statistics.sent += len(requests)
                else:
                    statistics.failed += len(requests)
        await trio.sleep(BREATH if is_full else PAUSE)


class Outlet:
    """Where spans go. What may take time, or reads files, is done in a thread: failover has timers to keep.

    What did not open, or failed to send, is opened anew within a minute: its headers may have changed.
    """

    def __init__(self) -> None:
        self._exporter: OTLPSpanExporter | None = None
        self._limiter = trio.CapacityLimiter(1)
        self._again = math.inf  # trio time
        self._why = ""  # as it was logged

    @property
    def is_open(self) -> bool:
        return self._exporter is not None

    @property
    def is_due(self) -> bool:
        """Whether it is to be opened anew, though the config is as it was."""
        return trio.current_time() >= self._again

    async def renew(self, otlp: Otlp | None) -> bool:
        """Open it as that says, and close what was open; whether it is open."""
        old, self._exporter, self._again = self._exporter, None, math.inf
        if old is not None:
            await self._in_thread(old.shutdown)
        if otlp is None:
            return False
        try:
            self._exporter = await self._in_thread(_exporter, otlp)
        except ImportError:
            self._refused(MISSING)
        except SecretError as error:
            self._refused(str(error))
            self._again = trio.current_time() + AGAIN
        else:
            self._why = ""
        return self.is_open

    async def send(self, requests: Sequence[TimedRequest], process: str, systems: Mapping[str, str]) -> bool:
        """Whether the collector took them."""
        exporter = self._exporter
        if exporter is None:
            return False
        is_sent = await self._in_thread(_send, exporter, requests, process, systems)
        if not is_sent:
            self._again = min(self._again, trio.current_time() + AGAIN)
        return is_sent

    async def _in_thread(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return await trio.to_thread.run_sync(work, *args, limiter=self._limiter, abandon_on_cancel=True)

    def _refused(self, why: str) -> None:
        if why != self._why:
            log.error("no spans are sent", why=why)
        self._why = why


def _exporter(otlp: Otlp) -> OTLPSpanExporter:
    """Raise ImportError or SecretError."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    headers = dict(otlp.header_values())
    return OTLPSpanExporter(endpoint_of(otlp.endpoint), headers=headers, timeout=TIMEOUT)


def endpoint_of(text: str) -> str:
    """Where spans are posted: at the usual path, unless the config names one."""
    path = text.split("//", 1)[1].partition("/")[2]
    return text if path else text.rstrip("/") + PATH


def _send(
    exporter: OTLPSpanExporter, requests: Sequence[TimedRequest], process: str, systems: Mapping[str, str]
) -> bool:
    from opentelemetry.sdk.trace.export import SpanExportResult

    from shardproxy.telemetry.spans import Described, spans_of

    described = Described.of(process, systems)
    spans = [span for request in requests for span in spans_of(request, described)]
    return exporter.export(spans) is SpanExportResult.SUCCESS
