"""How much anything may take before it is slowed down, then refused."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from shardproxy.config.base import Section
from shardproxy.config.sizes import Size

Count = Annotated[int, Strict(), Field(ge=0, le=10_000_000)]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class ProcessLimits(Section):
    """Limits of the whole process, whatever its clusters allow."""

    buffers: Size = 1 * GIB
    """Memory the buffers of all clusters may hold; beyond it the proxy stops reading. 0 = no limit."""


class ClusterLimits(Section):
    """Limits of one cluster; 0 = no limit."""

    clients: Count = 10_000
    """Connected clients; one more is answered `-ERR max number of clients reached` and closed."""
    request: Size = 512 * MIB
    """Largest single request, all its arguments together."""
    client_output: Size = 256 * MIB
    """Replies waiting for one client that does not read them; beyond it the client is closed."""
    in_flight: Count = 4096
    """Requests of one client without a reply yet; beyond it the proxy stops reading from that client."""
    shard_queue: Size = 64 * MIB
    """Bytes waiting to be sent to one shard; beyond it requests for that shard are refused."""
    dedicated: Annotated[int, Strict(), Field(ge=1, le=100_000)] = 256
    """Connections of a worker to one node for clients that block or WATCH; one more waits its turn."""
