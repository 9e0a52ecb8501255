"""One shard: some slots, one primary, up to five replicas."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.config.discovery import Discovery, with_placeholder
from shardproxy.config.nodes import RedisNode, short
from shardproxy.config.slots import Slots, format_slots, parse_slots
from shardproxy.model import SLOT_COUNT

MAX_SHARDS = 250  # with one replica each these are the 500 nodes ElastiCache allows
MAX_REPLICAS = 5  # per shard, as in ElastiCache

_HINT = f'write it like "0-8191", "0-99,200,300-400" or none; slots are 0-{SLOT_COUNT - 1}'


def read_slots(value: object) -> Slots:
    """Read slots text, or one slot as a number."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise refused("is not a range of slots", _HINT)
    try:
        return parse_slots(str(value))
    except ValueError as e:
        raise refused(str(e), _HINT) from None


ShardSlots = Annotated[
    Slots,
    PlainValidator(read_slots),
    PlainSerializer(format_slots, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "string",
                    "pattern": r"^\s*(\d+(\s*-\s*\d+)?(\s*,\s*\d+(\s*-\s*\d+)?)*|none)\s*$",
                },
                {"type": "integer", "minimum": 0, "maximum": SLOT_COUNT - 1},
            ],
            "examples": ["0-8191", "0-99,200,300-400", "none"],
        }
    ),
]


ShardName = Annotated[
    str,
    # not digits alone: that is a number. Without look-ahead, which not every reader of the schema has.
    Field(
        max_length=64,
        pattern=r"^[A-Za-z0-9._-]*[A-Za-z._-][A-Za-z0-9._-]*$",
        examples=["users", "eu-central.3"],
    ),
]


class RedisShard(Section):
    """A shard and its nodes."""

    name: ShardName | None = None
    """What operators call the shard; its nodes may all be replaced while it keeps its name. Default: a number
    that it got when it was first served, and keeps."""
    slots: ShardSlots | None = None
    """The slots that this shard has at first. Left out: an even share of what the other shards leave. `none`:
    it is ready and empty, until slots are moved to it (`shardproxy scale`). Once a shard has been served,
    its slots are on record and this is not read any more: they move by `shardproxy scale`, `reshard`,
    `rebalance` and `drain`, and only a shard without any may be taken from the config. A shard that is added
    later has none, whatever is written here. (Where Sentinels decide who is primary this is read at every
    start and reload.)"""
    nodes: Annotated[
        tuple[Annotated[RedisNode, short(RedisNode)], ...], Field(min_length=1, max_length=1 + MAX_REPLICAS)
    ] = ()
    """The nodes: first the primary, then up to 5 replicas."""
    discover: Discovery | None = None
    """Where the nodes are found, instead of `nodes`. Who is primary among them they say themselves."""

    @model_validator(mode="before")
    @classmethod
    def _named_for_now(cls, values: Any) -> Any:
        return with_placeholder(values)

    @model_validator(mode="after")
    def _has_nodes(self) -> Self:
        if not self.nodes:
            raise refused("has no nodes", 'write nodes: ["10.0.0.1:6379"], or discover:')
        return self
