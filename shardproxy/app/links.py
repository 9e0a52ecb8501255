"""The connections of this process to nodes, logged in as is configured when each opens."""

from __future__ import annotations

from functools import partial

from shardproxy.nodes import LinkTimeouts, NodeLinks, OpenLinks, Speech
from shardproxy.topology.follower import Follower
from shardproxy.topology.logins import Logins
from shardproxy.topology.tokens import NodeTokens

PROBE_TIMEOUTS = LinkTimeouts(connect=0.5, reply=1.0)
PER_NODE = 16  # connections to a primary: each is caching's for a round trip


class Links:
    """One process's; whoever is given a set of them enters it."""

    def __init__(self, follower: Follower, tokens: NodeTokens) -> None:
        self._logins = Logins(follower.clusters, follower.topologies, tokens.credentials)
        self._login, self._tls = partial(self._logins.find, None), partial(self._logins.find_tls, None)
        self.watched = OpenLinks(login=self._logins.find, tls=self._logins.find_tls, timeouts=PROBE_TIMEOUTS)

    def of(self, cluster: str) -> NodeLinks:
        """To nodes of a cluster, be they in its topology or not."""
        login, tls = partial(self._logins.find, cluster), partial(self._logins.find_tls, cluster)
        return NodeLinks(credentials=login, tls=tls, timeouts=PROBE_TIMEOUTS)

    def of_commands(self) -> NodeLinks:
        """To any node, for what the data plane hands on."""
        return NodeLinks(credentials=self._login, tls=self._tls)

    def of_caching(self, speech: Speech) -> NodeLinks:
        """To primaries, more than others need: each load and write has one for a round trip."""
        return NodeLinks(credentials=self._login, tls=self._tls, per_node=PER_NODE, speech=speech)
