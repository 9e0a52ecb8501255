"""A sample of requests goes to a collector: a real OTLP receiver reads what the SDK's exporter sends."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until


class Collector:
    """Takes spans, or refuses them."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    def take(self, headers: dict[str, str], body: bytes) -> None:
        self.headers.append(headers)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            self.resources.append(values(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans += scope.spans


def values(attributes: Any) -> dict[str, Any]:
    """Attributes of the protocol as plain values."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            if taker.status == 200:
                taker.take({key.lower(): value for key, value in self.headers.items()}, body)
            self.send_response(taker.status)
            self.send_header("content-type", "application/x-protobuf")
            reply = ExportTraceServiceResponse().SerializeToString()
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        taker = Collector(server)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield taker
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def spans_count(proxy: Proxy, outcome: str) -> float:
    return proxy.metrics()[f'shardproxy_spans_total{{outcome="{outcome}"}}']


def test_requests_become_spans_by_the_conventions_for_databases(
    collector: Collector, start_fleet: StartFleet, start_proxy: StartProxy
) -> None:
    config = config_of(start_fleet(shards=2, replicas=0))
    otlp = {"endpoint": collector.url, "sample": 1, "headers": {"authorization": {"env": "OTLP_TOKEN"}}}
    proxy = start_proxy(
        {**config, "telemetry": {"otlp": otlp}, "name": "cache-1"}, env={"OTLP_TOKEN": "Bearer hush"}
    )
    with closing(Wire(proxy.address())) as wire:

        def sampled() -> bool:
            wire.ask("SET", "user:1", "a value")
            return bool(collector.spans)

        wait_until(sampled, proxy.log, timeout=30, interval=0.2)
        wire.ask("LPUSH", "user:1", 1)

        def of(name: str) -> list[Any]:
            return [span for span in collector.spans if span.name == name]

        wait_until(lambda: of("LPUSH 0"), lambda: f"{[s.name for s in collector.spans]}", timeout=30)
    span, failed = of("SET 0")[0], of("LPUSH 0")[0]
    attributes = values(span.attributes)
    assert {key: attributes[key] for key in ("db.system.name", "db.operation.name", "db.namespace")} == {
        "db.system.name": "redis",
        "db.operation.name": "SET",
        "db.namespace": "0",
    }
    assert attributes["server.address"] == attributes["network.peer.address"] == "127.0.0.1"
    assert attributes["server.port"] == attributes["network.peer.port"] > 0
    assert attributes["client.address"] == "127.0.0.1"
    assert (attributes["shardproxy.cluster"], attributes["shardproxy.shard"]) == ("main", 1)
    assert span.kind == 3, "of a client of a database"
    assert values(failed.attributes)["db.response.status_code"] == "WRONGTYPE"
    assert failed.status.code == 2
    [upstream] = [one for one in of("shardproxy.upstream") if one.parent_span_id == span.span_id]
    assert upstream.trace_id == span.trace_id
    assert span.start_time_unix_nano <= upstream.start_time_unix_nano
    assert upstream.end_time_unix_nano <= span.end_time_unix_nano
    assert collector.resources[0]["service.name"] == "shardproxy"
    assert collector.resources[0]["service.instance.id"] == "cache-1"
    assert collector.headers[0]["authorization"] == "Bearer hush"
    assert "a value" not in str(collector.spans)
    assert spans_count(proxy, "sent") > 0
    assert "hush" not in proxy.log()


def test_what_a_collector_does_not_take_is_counted(
    collector: Collector, start_fleet: StartFleet, start_proxy: StartProxy
) -> None:
    collector.status = 400
    config = config_of(start_fleet(shards=1, replicas=0), workers=1)
    otlp = {"endpoint": collector.url, "sample": 1, "queue": 1}
    proxy = start_proxy({**config, "telemetry": {"otlp": otlp}})
    with closing(Wire(proxy.address())) as wire:

        def counted() -> bool:
            for _ in range(5):
                wire.ask("GET", "k")
            return spans_count(proxy, "failed") > 0 and spans_count(proxy, "dropped") > 0

        wait_until(counted, proxy.log, timeout=30, interval=0.2)
        assert spans_count(proxy, "sent") == 0
