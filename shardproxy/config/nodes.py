"""Engine nodes as the file lists them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict

from shardproxy.config.addresses import Target
from shardproxy.config.base import Section
from shardproxy.model import Address, Node

NodeType = Annotated[str, Field(min_length=1, max_length=100, examples=["cache.r7g.large"])]


class RedisNode(Section):
    """A node written out; its address alone says the same in short."""

    address: Target
    """Where the node is reached: host:port, [ipv6]:port or unix:/path."""
    zone: Annotated[str, Field(min_length=1, max_length=100, examples=["eu-central-1a"])] | None = None
    """Availability zone the node runs in."""
    type: NodeType | None = None
    """Machine type of this node. All nodes of one cluster must have the same one."""

    def node(self) -> Node:
        return Node(self.address, zone=self.zone)


class MemcachedNode(Section):
    """A node written out; its address alone says the same in short."""

    address: Target
    """Where the node is reached: host:port, [ipv6]:port or unix:/path."""
    zone: Annotated[str, Field(min_length=1, max_length=100, examples=["eu-central-1a"])] | None = None
    """Availability zone the node runs in."""
    name: (
        Annotated[str, Field(min_length=1, max_length=250, pattern=r"^\S+$", examples=["cache-1"])] | None
    ) = None
    """What consistent hashing calls the node: keys stay when its address changes. Default: the address."""
    weight: Annotated[int, Strict(), Field(ge=1, le=1_000_000)] = 1
    """Share of the keys, relative to the other nodes. Not with rendezvous."""
    type: NodeType | None = None
    """Machine type of this node. All nodes of one cluster must have the same one."""

    def node(self) -> Node:
        return Node(self.address, zone=self.zone, name=self.name, weight=self.weight)


def _as_node(value: object) -> object:
    return {"address": value} if isinstance(value, (str, Address)) else value


def short(kind: type[Section]) -> Any:
    """Let an address alone stand for the node."""
    return BeforeValidator(_as_node, json_schema_input_type=Target | kind)
