"""Who says which nodes a cluster has, and which are primaries: this file, or something that decides."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from shardproxy.config.addresses import Target
from shardproxy.config.base import Section, refused
from shardproxy.config.secrets import Secret, not_literal
from shardproxy.config.shards import MAX_SHARDS, ShardName
from shardproxy.config.tls import NodeTls, why_no_tls

MAX_DECIDERS = 16  # more answer no better

# Sentinel takes these characters in the name of a master.
MasterName = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$", examples=["mymaster"])
]


def _by_shard(value: object) -> object:
    """A list of names: each shard is called as its primary is."""
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        return value
    if len(set(value)) < len(value):
        raise refused("a name stands there twice", "list each primary once")
    return {name: name for name in value}


Names = Annotated[
    dict[ShardName, MasterName],
    Field(min_length=1, max_length=MAX_SHARDS),
    BeforeValidator(_by_shard, json_schema_input_type=tuple[MasterName, ...] | dict[ShardName, MasterName]),
]
Deciders = Annotated[tuple[Target, ...], Field(min_length=1, max_length=MAX_DECIDERS)]


class FromConfig(Section):
    """The shards below: this proxy, or those that share its store, decide who is primary."""

    source: Literal["config"] = Field(default="config", alias="from")
    """`config`: the shards below; `sentinel` or `redis-cluster`: what those say, and they decide."""


class FromSentinel(Section):
    """Redis Sentinel decides who is primary; the proxy follows, and changes nothing at any node."""

    source: Literal["sentinel"] = Field(alias="from")
    """`config`: the shards below; `sentinel` or `redis-cluster`: what those say, and they decide."""
    sentinels: Deciders
    """Where all of the Sentinels are. A primary is believed when more than half of these name it."""
    names: Names
    """What the Sentinels call the primaries, one for each shard: a list, or a mapping of shards' names to
    theirs. The order is that of the shards: slots are split evenly in it unless shards give them."""
    username: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Whom to log in to the Sentinels as, where they have users."""
    password: Annotated[Secret, BeforeValidator(not_literal, json_schema_input_type=Secret)] | None = None
    """The Sentinels' own password (requirepass), not the nodes': {file: ...} or {env: ...}."""
    tls: NodeTls | None = None
    """How the Sentinels are spoken to in TLS. Default: in plain, whatever the nodes speak."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.username is not None and self.password is None:
            raise refused("username needs its password", "add password: {file: /run/secrets/sentinel}")
        if len(set(self.sentinels)) < len(self.sentinels):
            raise refused("a Sentinel is listed twice: its word would count twice", "list each once")
        if len(set(self.names.values())) < len(self.names):
            raise refused("one primary's name stands for two shards", "give each shard its own")
        for address in self.sentinels:
            if self.tls is not None and (fault := why_no_tls(address)) is not None:
                raise refused(*fault)
        return self


class FromRedisCluster(Section):
    """A Redis Cluster decides who is primary and who has which slots; the proxy follows."""

    source: Literal["redis-cluster"] = Field(alias="from")
    """`config`: the shards below; `sentinel` or `redis-cluster`: what those say, and they decide."""
    seeds: Deciders
    """Some of its nodes; all others are found by asking."""

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise refused("a seed is listed twice", "list each once")
        return self


TopologyFrom: TypeAlias = FromConfig | FromSentinel | FromRedisCluster
