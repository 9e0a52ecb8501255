"""How requests are named and described as spans."""

from __future__ import annotations

from dataclasses import replace

import pytest
from opentelemetry.trace import StatusCode

from shardproxy.dataplane.timings import Phases, TimedRequest
from shardproxy.telemetry.run import endpoint_of
from shardproxy.telemetry.spans import Described, spans_of

REQUEST = TimedRequest(
    id=1,
    at=1_000_000,
    microseconds=100,
    phases=Phases(waited=10, parked=0, upstream=70, client=20),
    command="config|get",
    arguments=(b"CONFIG", b"GET"),
    key=None,
    client_id=7,
    client="10.0.0.1:5000",
    name=b"",
    user="default",
    db=3,
    slot=None,
    shard=None,
    node="[::1]:7001",
    request_bytes=100,
    reply_bytes=4,
    outcome="ok",
    error="",
    cluster="main",
)
DESCRIBED = Described.of("cache-1", {"main": "redis", "pages": "memcached"})


def test_phases_are_spans_below_and_follow_each_other() -> None:
    whole, *phases = spans_of(REQUEST, DESCRIBED)
    assert (whole.name, whole.start_time, whole.end_time) == ("CONFIG GET 3", 1_000_000_000, 1_000_100_000)
    assert [(span.name, span.start_time, span.end_time) for span in phases] == [
        ("shardproxy.waited", 1_000_000_000, 1_000_010_000),
        ("shardproxy.upstream", 1_000_010_000, 1_000_080_000),
        ("shardproxy.client", 1_000_080_000, 1_000_100_000),
    ]
    assert whole.context is not None
    for span in phases:
        assert span.parent == whole.context
        assert span.context is not None
        assert span.context.trace_id == whole.context.trace_id
    attributes = dict(whole.attributes or {})
    assert (attributes["server.address"], attributes["server.port"]) == ("::1", 7001)
    assert attributes["network.peer.address"] == "::1"


def test_nodes_by_name_and_none_at_all() -> None:
    named = dict(next(spans_of(replace(REQUEST, node="cache:7001"), DESCRIBED)).attributes or {})
    assert named["server.address"] == "cache"
    assert "network.peer.address" not in named
    nowhere = dict(next(spans_of(replace(REQUEST, node=""), DESCRIBED)).attributes or {})
    assert "server.address" not in nowhere


def test_memcached_has_no_databases() -> None:
    request = replace(REQUEST, cluster="pages", command="get", node="10.0.0.2:11211")
    span = next(spans_of(request, DESCRIBED))
    attributes = dict(span.attributes or {})
    assert span.name == "get 10.0.0.2:11211"
    assert (attributes["db.system.name"], "db.namespace" in attributes) == ("memcached", False)


def test_errors_and_clients_that_went_are_told_apart() -> None:
    failed = next(spans_of(replace(REQUEST, outcome="error", error="WRONGTYPE"), DESCRIBED))
    assert failed.status.status_code is StatusCode.ERROR
    assert dict(failed.attributes or {})["error.type"] == "WRONGTYPE"
    gone = next(spans_of(replace(REQUEST, outcome="gone"), DESCRIBED))
    assert dict(gone.attributes or {})["error.type"] == "gone"


@pytest.mark.parametrize(
    ("endpoint", "posted"),
    [
        ("http://h:4318", "http://h:4318/v1/traces"),
        ("http://h:4318/", "http://h:4318/v1/traces"),
        ("https://h/otlp/v1/traces", "https://h/otlp/v1/traces"),
    ],
)
def test_spans_go_to_the_usual_path_unless_one_is_named(endpoint: str, posted: str) -> None:
    assert endpoint_of(endpoint) == posted
