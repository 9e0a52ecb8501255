"""How much anything may take before it is slowed down, then refused."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from shardproxy.config.base import Section
from shardproxy.config.sizes import Size, at_least

Count = Annotated[int, Strict(), Field(ge=0, le=10_000_000)]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class ProcessLimits(Section):
    """Limits of the whole process, whatever its clusters allow."""

    buffers: Annotated[Size, at_least(1 * MIB)] = 1 * GIB  # a few clients' buffers
    """Memory the buffers of all clusters may hold; beyond it the proxy stops reading. 0 = no limit."""


class ClusterLimits(Section):
    """Limits of one cluster; 0 = no limit."""

    clients: Count = 10_000
    """Connected clients; one more is answered `-ERR max number of clients reached` and closed."""
    request: Annotated[Size, at_least(1 * KIB)] = 512 * MIB  # what clients say at the start is smaller
    """Largest single request, all its arguments together."""
    client_output: Annotated[Size, at_least(64 * KIB)] = 512 * MIB  # one turn's replies of ordinary size
    """Replies waiting for one client that does not read them. Near it, counting those under way as large as
    the last ones, its requests are not read; beyond it, as messages or larger replies may be, the client is
    closed. With less than `request` some values can be written and not be read."""
    in_flight: Count = 4096
    """Requests of one client without a reply yet; beyond it the proxy stops reading from that client."""
    shard_queue: Annotated[Size, at_least(64 * KIB)] = 64 * MIB  # one turn's requests of ordinary size
    """Bytes of requests to one node that a worker holds until they are answered; beyond it clients with
    requests for that shard are not read until there is room. One request may be larger."""
    dedicated: Annotated[int, Strict(), Field(ge=1, le=100_000)] = 256
    """Connections of a worker to one node for clients that WATCH, or block where the proxy cannot wait for
    them; one more waits its turn. All of them together are no more than there are file descriptors for,
    beside clients and what workers share."""
