"""Frozen values shared by every service. Imports nothing of ours."""

from shardproxy.model.address import Address
from shardproxy.model.topology import (
    SLOT_COUNT,
    EndpointKind,
    Engine,
    Hold,
    Node,
    Shard,
    SlotRange,
    Topology,
    split_evenly,
)

__all__ = [
    "SLOT_COUNT",
    "Address",
    "EndpointKind",
    "Engine",
    "Hold",
    "Node",
    "Shard",
    "SlotRange",
    "Topology",
    "split_evenly",
]
