"""Where traces of requests go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, Strict

from shardproxy.config.base import Section
from shardproxy.config.secrets import Secret

Endpoint = Annotated[
    str,
    Field(
        min_length=8,
        max_length=2000,
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        examples=["http://127.0.0.1:4318"],
    ),
]
Header = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")]


class Otlp(Section):
    """OpenTelemetry's own protocol, over HTTP."""

    endpoint: Endpoint
    """Of the collector; spans go to /v1/traces below it, unless it names a path of its own."""
    headers: Annotated[dict[Header, Secret], Field(max_length=20, default_factory=dict)]
    """Headers of each request, such as `authorization`: each is a secret, from a file or the environment."""
    sample: Annotated[float, Field(gt=0, le=1)] = 0.001
    """The share of requests that become spans."""
    queue: Annotated[int, Strict(), Field(ge=1, le=100_000)] = 2048
    """Spans that may wait for the collector; more are dropped, and counted."""

    def header_values(self) -> Mapping[str, str]:
        """Read the headers now; raise SecretError."""
        return {name.lower(): secret.read() for name, secret in self.headers.items()}


class Telemetry(Section):
    """What is told to systems that watch many services."""

    otlp: Otlp
    """Where spans of requests are sent. It needs the extra `otel`: `pip install shardproxy[otel]`."""
