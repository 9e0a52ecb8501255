"""A request as spans: one for the whole, described by the semantic conventions for database clients, and one
below it for each phase that took some time. Imports OpenTelemetry's SDK, which is an extra.

https://opentelemetry.io/docs/specs/semconv/database/redis/
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shardproxy import __version__
from shardproxy.dataplane.timings import TimedRequest

SCOPE = InstrumentationScope("shardproxy", __version__)
PHASES = ("waited", "parked", "upstream", "client")  # in their order
Value = str | int


@dataclass(frozen=True, slots=True)
class Described:
    """What all spans of a process have in common."""

    resource: Resource
    systems: Mapping[str, str]  # by cluster: redis or memcached

    @classmethod
    def of(cls, process: str, systems: Mapping[str, str]) -> Described:
        attributes = {
            "service.name": "shardproxy",
            "service.version": __version__,
            "service.instance.id": process,
        }
        return cls(Resource.create(attributes), systems)


def spans_of(request: TimedRequest, described: Described) -> Iterator[ReadableSpan]:
    """The span of a request, and those of its phases."""
    ids = RandomIdGenerator()
    trace, start = ids.generate_trace_id(), request.at * 1000
    whole = _context(trace, ids.generate_span_id())
    is_error = request.outcome == "error"
    attributes = _attributes(request, described.systems.get(request.cluster, "redis"))
    yield ReadableSpan(
        _name(attributes),
        context=whole,
        resource=described.resource,
        attributes=attributes,
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR) if is_error else Status(StatusCode.UNSET),
        start_time=start,
        end_time=start + request.microseconds * 1000,
        instrumentation_scope=SCOPE,
    )
    for phase in PHASES:
        micros = getattr(request.phases, phase) or 0
        if micros > 0:
            yield ReadableSpan(
                f"shardproxy.{phase}",
                context=_context(trace, ids.generate_span_id()),
                parent=whole,
                resource=described.resource,
                start_time=start,
                end_time=start + micros * 1000,
                instrumentation_scope=SCOPE,
            )
            start += micros * 1000


def _context(trace: int, span: int) -> SpanContext:
    return SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _name(attributes: Mapping[str, Value]) -> str:
    """`{db.operation.name} {target}`, as the conventions have it."""
    target = attributes.get("db.namespace")
    if target is None and "server.address" in attributes:
        target = f"{attributes['server.address']}:{attributes.get('server.port', '')}".rstrip(":")
    return f"{attributes['db.operation.name']} {target or ''}".rstrip()


def _attributes(request: TimedRequest, system: str) -> dict[str, Value]:
    found: dict[str, Value] = {
        "db.system.name": system,
        "db.operation.name": request.command.replace("|", " ").upper()
        if system == "redis"
        else request.command,
        "shardproxy.cluster": request.cluster,
        "shardproxy.request.size": request.request_bytes,
        "shardproxy.response.size": request.reply_bytes,
    }
    if system == "redis":
        found["db.namespace"] = str(request.db)
    if request.shard is not None:
        found["shardproxy.shard"] = request.shard
    found |= _address("server", request.node) | _address("client", request.client)
    if request.node and _is_ip(str(found.get("server.address", ""))):
        found["network.peer.address"] = found["server.address"]
        found["network.peer.port"] = found["server.port"]
    if request.outcome != "ok":
        found["error.type"] = request.error or request.outcome
    if request.error:
        found["db.response.status_code"] = request.error
    return found


def _address(kind: str, text: str) -> dict[str, Value]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        return {f"{kind}.address": text} if text else {}
    return {f"{kind}.address": host.strip("[]"), f"{kind}.port": int(port)}


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
