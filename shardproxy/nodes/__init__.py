"""Connections to engine nodes, for the control plane's own requests.

link.py        one connection, opened when needed      links.py    a bounded set of them per node
open_links.py  two kept open to each watched node      pulse.py    asks many links at once
connect.py     opens a socket                          resolve.py  names to IP addresses
connection.py  an open one: bytes out, replies in      errors.py   why there is no reply
tls.py         TLS over a socket                       speech.py   which protocol a node speaks
"""

from shardproxy.nodes.connection import Batch
from shardproxy.nodes.errors import NodeError, NodeFailure, NodeTimeout, NodeUnreachable
from shardproxy.nodes.link import Credentials, LinkTimeouts, NodeLink, Received
from shardproxy.nodes.links import NodeLinks
from shardproxy.nodes.open_links import OpenLinks
from shardproxy.nodes.pulse import Pulse, Stop
from shardproxy.nodes.resolve import Resolver, resolve
from shardproxy.nodes.speech import MEMCACHED, RESP, Speech
from shardproxy.nodes.tls import NodeTls

__all__ = [
    "MEMCACHED",
    "RESP",
    "Batch",
    "Credentials",
    "LinkTimeouts",
    "NodeError",
    "NodeFailure",
    "NodeLink",
    "NodeLinks",
    "NodeTimeout",
    "NodeTls",
    "NodeUnreachable",
    "OpenLinks",
    "Pulse",
    "Received",
    "Resolver",
    "Speech",
    "Stop",
    "resolve",
]
