"""Who replicates whom, who replaces a primary that is down, and when a write counts as done."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.config.durations import PositiveDuration
from shardproxy.config.shards import MAX_REPLICAS

Replicas = Annotated[int, Strict(), Field(ge=0, le=MAX_REPLICAS)]


class Replication(Enum):
    """What the proxy does about replication that it finds at start."""

    ADOPT = "adopt"
    MANAGED = "managed"


class Fencing(Enum):
    """Whom a promotion waits for, where several proxies share a store."""

    STRICT = "strict"
    FAST = "fast"


class Failover(Section):
    """When a replica replaces a primary that is down."""

    enabled: Annotated[bool, Strict()] = True
    """Whether it happens by itself. Off: nothing is done to the nodes unless an operator asks for it."""
    down_after: PositiveDuration = 1.0
    """How long a primary may be silent. One whose process is gone is replaced sooner."""
    slow_after: PositiveDuration = 10.0
    """How long one may be silent that was sent what may take long: a script, SORT, KEYS, a large DEL."""
    fencing: Fencing = Fencing.STRICT
    """Where several proxies share a store: `strict` promotes once every live proxy has said that it sends
    nothing more to the last primary; `fast` does not wait for them: for a moment reads elsewhere may be
    old, and without `writes: {wait}` what is written through one that still reaches it may be lost."""

    @property
    def busy_limit(self) -> float:
        """`slow_after`, where `down_after` is not longer."""
        return max(self.slow_after, self.down_after)

    @model_validator(mode="after")
    def _slow_is_longer(self) -> Self:
        if "slow_after" in self.model_fields_set and self.slow_after < self.down_after:
            raise refused(
                "slow_after is shorter than down_after", "a busy node is not given less time than an idle one"
            )
        return self


class Writes(Section):
    """When a write is acknowledged."""

    wait: Replicas = 0
    """How many replicas must have it. 0 = the primary alone; a failover may then lose the last writes."""
    timeout: PositiveDuration = 1.0
    """How long they have; after it the client is told that the write is in doubt."""
    min_replicas: Replicas | None = None
    """`min-replicas-to-write` of every node: a primary with fewer takes no writes. Default: left as it is."""
