"""What our own connections to nodes log in with: asked for when one opens, so a reload reaches each."""

from __future__ import annotations

from collections.abc import Mapping

from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.model import Address, Topology
from shardproxy.nodes import Credentials
from shardproxy.topology.project import Configured


class Logins:
    """Reads what is configured now."""

    def __init__(self, clusters: Mapping[str, Configured], topologies: Mapping[str, Topology]) -> None:
        self._clusters = clusters
        self._topologies = topologies

    def find(self, cluster: str | None, address: Address) -> Credentials | None:
        """What that cluster has; None stands for the first of the node's clusters that has any."""
        if cluster is not None:
            return self._of_cluster(cluster)
        found = (
            self._of_cluster(name)
            for name, topology in self._topologies.items()
            if any(node.address == address for node in topology.nodes)
        )
        return next((credentials for credentials in found if credentials is not None), None)

    def _of_cluster(self, name: str) -> Credentials | None:
        configured = self._clusters.get(name)
        return credentials_of(configured.settings) if configured is not None else None


def credentials_of(settings: ClusterSettings) -> Credentials | None:
    """What the nodes of a cluster want to hear, where they want anything."""
    given = settings.credentials
    return Credentials(given.password, given.username) if given is not None else None
