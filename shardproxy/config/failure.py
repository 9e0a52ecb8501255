"""What happens to the keys of a memcached node that is down."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, Strict, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.config.durations import PositiveDuration
from shardproxy.config.nodes import MemcachedNode, short


class FailureAction(Enum):
    """Who serves the keys of a node that is down."""

    MISS = "miss"  # nobody: gets miss, writes fail
    REHASH = "rehash"  # the other nodes
    GUTTER = "gutter"  # spare nodes


class OnFailure(Section):
    """Failure handling written out; the action alone says the same in short."""

    action: FailureAction = FailureAction.MISS
    """`miss`: gets miss, writes fail; `rehash`: the other nodes take the keys; `gutter`: spare nodes do."""
    failures: Annotated[int, Strict(), Field(ge=1, le=1000)] = 2
    """So many failures in a row (connections refused or lost, replies overdue), and the node is down."""
    retry: PositiveDuration = 1.0
    """How long until a node that is down is probed again."""
    gutter: Annotated[tuple[Annotated[MemcachedNode, short(MemcachedNode)], ...], Field(max_length=50)] = ()
    """The spare nodes, for action gutter."""
    gutter_ttl: PositiveDuration = 10.0
    """Keys live no longer than this on spare nodes: what changes meanwhile is not stale for long."""

    @model_validator(mode="after")
    def _gutter_is_used(self) -> Self:
        if self.action is FailureAction.GUTTER and not self.gutter:
            raise refused("action gutter needs spare nodes", 'add them, as in: gutter: ["127.0.0.1:11411"]')
        if self.action is not FailureAction.GUTTER and self.gutter:
            raise refused("spare nodes have no use without action gutter", "write action: gutter")
        return self


def _as_on_failure(value: object) -> object:
    return {"action": value} if isinstance(value, str) else value


def on_failure_short() -> Any:
    """Let the action alone stand for the whole."""
    return BeforeValidator(_as_on_failure, json_schema_input_type=FailureAction | OnFailure)
