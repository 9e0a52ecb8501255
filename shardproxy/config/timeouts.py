"""How long anything may take."""

from __future__ import annotations

from shardproxy.config.base import Section
from shardproxy.config.durations import Duration, PositiveDuration


class ProcessTimeouts(Section):
    """Deadlines of the whole process."""

    drain: Duration = 10.0
    """On SIGTERM, how long clients may wait for the replies of what they already sent."""
    drain_delay: Duration = 0.0
    """On SIGTERM, how long new clients are still let in while /readyz says that this proxy goes: as long as a
    load balancer takes to notice. When another process takes over nobody waits for it."""


class ClusterTimeouts(Section):
    """Deadlines of one cluster."""

    connect: PositiveDuration = 1.0
    """To open a connection to a node."""
    reply: PositiveDuration = 5.0
    """For a node to answer a request. A large answer may take longer while 64 KiB a second come of it.

    A Redis node that owes the reply to a command that may take long has `failover.slow_after` for it.
    """
    idle: Duration = 0.0
    """Close a client that has sent nothing for so long. 0 = never."""


class RedisTimeouts(ClusterTimeouts):
    """Deadlines of one cluster of Redis or Valkey."""

    park: Duration = 3.0
    """For a shard without a primary to have one again; requests that were not sent wait so long. Default: 3s;
    with a `store` 5s more than its `ttl`, as the proxy that decides may be lost with the primary; 10s where
    Sentinel or a Redis Cluster decides."""
