"""Connections to engine nodes, for the control plane's own requests."""

from shardproxy.nodes.errors import NodeError, NodeFailure, NodeTimeout, NodeUnreachable
from shardproxy.nodes.link import Credentials, LinkTimeouts, NodeLink, Received
from shardproxy.nodes.links import NodeLinks

__all__ = [
    "Credentials",
    "LinkTimeouts",
    "NodeError",
    "NodeFailure",
    "NodeLink",
    "NodeLinks",
    "NodeTimeout",
    "NodeUnreachable",
    "Received",
]
