"""When spans are sent, and with what: an exporter that takes all of them, in place of the SDK's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from structlog.testing import capture_logs
from trio.testing import MockClock

from shardproxy.config.telemetry import Otlp
from shardproxy.dataplane.timings import TimedRequest
from shardproxy.telemetry.run import AGAIN, BATCH, BREATH, PAUSE, run_telemetry
from shardproxy.telemetry.statistics import SpanStatistics
from tests.unit.telemetry.test_spans import REQUEST


class Exporter:
    """As the SDK's."""

    made: list[Exporter]
    result = SpanExportResult.SUCCESS

    def __init__(self, endpoint: str, *, headers: Mapping[str, str], timeout: float) -> None:
        self.endpoint, self.headers = endpoint, headers
        assert Thread.is_busy, "its import takes long"
        self.is_shut = False
        Exporter.made.append(self)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        assert Thread.is_busy
        assert not self.is_shut
        return Exporter.result

    def shutdown(self) -> None:
        assert Thread.is_busy
        self.is_shut = True


class Thread:
    """In place of trio's, which the clock of these tests does not wait for."""

    is_busy = False

    @staticmethod
    async def run_sync(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        Thread.is_busy = True
        try:
            return work(*args)
        finally:
            Thread.is_busy = False


@dataclass
class World:
    """What workers sampled, and the config of the moment."""

    otlp: Otlp | None = None
    waiting: int = 0
    shares: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)  # when
    statistics: SpanStatistics = field(default_factory=SpanStatistics)

    def sample(self, share: float, queue: int) -> None:
        self.shares.append(share)

    def spans(self, most: int) -> tuple[Sequence[TimedRequest], int]:
        self.asked.append(trio.current_time())
        count = min(self.waiting, most)
        self.waiting -= count
        return [REQUEST] * count, 0

    async def run(self) -> None:
        await run_telemetry(self, lambda: self.otlp, dict, "one", self.statistics)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(trio.to_thread, "run_sync", Thread.run_sync)
    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", Exporter)
    monkeypatch.setattr(Exporter, "made", [], raising=False)
    monkeypatch.setattr(Exporter, "result", SpanExportResult.SUCCESS)
    return World()


def otlp(**options: Any) -> Otlp:
    return Otlp.model_validate({"endpoint": "http://127.0.0.1:4318", "sample": 0.5, **options})


async def test_an_exporter_is_made_in_a_thread_and_shut_down_when_another_follows(
    world: World, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        await trio.sleep(PAUSE / 2)
        assert not Exporter.made
        world.otlp = otlp()
        await trio.sleep(PAUSE)
        [first] = Exporter.made
        world.otlp = otlp(endpoint="http://127.0.0.1:4319")
        await trio.sleep(PAUSE)
        _, second = Exporter.made
        assert (first.is_shut, second.is_shut) == (True, False)
        world.otlp = None
        await trio.sleep(PAUSE)
        assert second.is_shut
        assert world.shares[-3:] == [0.5, 0.5, 0.0]
        nursery.cancel_scope.cancel()


async def test_a_secret_that_cannot_be_read_is_tried_again(
    world: World, autojump_clock: MockClock, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    world.otlp = otlp(headers={"authorization": {"file": str(token)}})
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.run)
            await trio.sleep(2.5 * AGAIN)
            assert (Exporter.made, world.shares[-1]) == ([], 0.0)
            token.write_text("first")
            await trio.sleep(AGAIN + PAUSE)
            [exporter] = Exporter.made
            assert (dict(exporter.headers), world.shares[-1]) == ({"authorization": "first"}, 0.5)
            nursery.cancel_scope.cancel()
    assert [line["event"] for line in logs] == ["no spans are sent"], "once"


async def test_headers_are_read_again_when_the_collector_takes_nothing(
    world: World, autojump_clock: MockClock, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    world.otlp = otlp(headers={"authorization": {"file": str(token)}})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        await trio.sleep(2.5 * AGAIN)
        assert len(Exporter.made) == 1, "nothing failed"
        token.write_text("second")
        Exporter.result, world.waiting = SpanExportResult.FAILURE, 1
        await trio.sleep(AGAIN + 2 * PAUSE)
        assert [made.headers["authorization"] for made in Exporter.made] == ["first", "second"]
        assert world.statistics.failed == 1
        nursery.cancel_scope.cancel()


async def test_full_batches_leave_others_time(world: World, autojump_clock: MockClock) -> None:
    world.otlp, world.waiting = otlp(), 3 * BATCH
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        await trio.sleep(PAUSE / 2)
        assert world.statistics.sent == 3 * BATCH
        assert [later - at for at, later in zip(world.asked, world.asked[1:], strict=False)] == pytest.approx(
            [BREATH] * 3
        )
        nursery.cancel_scope.cancel()
