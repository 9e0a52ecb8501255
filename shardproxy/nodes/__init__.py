"""Connections to engine nodes, for the control plane's own requests."""

from shardproxy.nodes.connection import Batch
from shardproxy.nodes.errors import NodeError, NodeFailure, NodeTimeout, NodeUnreachable
from shardproxy.nodes.link import Credentials, LinkTimeouts, NodeLink, Received
from shardproxy.nodes.links import NodeLinks
from shardproxy.nodes.open_links import OpenLinks
from shardproxy.nodes.pulse import Pulse, Stop
from shardproxy.nodes.resolve import Resolver, resolve

__all__ = [
    "Batch",
    "Credentials",
    "LinkTimeouts",
    "NodeError",
    "NodeFailure",
    "NodeLink",
    "NodeLinks",
    "NodeTimeout",
    "NodeUnreachable",
    "OpenLinks",
    "Pulse",
    "Received",
    "Resolver",
    "Stop",
    "resolve",
]
