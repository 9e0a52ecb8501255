"""What our own connections to nodes log in with: asked for when one opens, so a reload reaches each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from shardproxy.config import Credentials as Given
from shardproxy.dataplane.spec import LOGIN_LASTS, ClusterSettings
from shardproxy.model import Address, Topology
from shardproxy.nodes import Credentials
from shardproxy.topology.project import Configured
from shardproxy.topology.tokens import login_now

Login: TypeAlias = Callable[[ClusterSettings], Given | None]


class Logins:
    """Reads what is configured now."""

    def __init__(
        self,
        clusters: Mapping[str, Configured],
        topologies: Mapping[str, Topology],
        login: Login,
    ) -> None:
        """`login` tells what the nodes of a cluster are logged in to with now."""
        self._clusters = clusters
        self._topologies = topologies
        self._login = login

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
        return credentials_of(configured.settings, self._login) if configured is not None else None


def credentials_of(settings: ClusterSettings, login: Login = login_now) -> Credentials | None:
    """What the nodes of a cluster want to hear now, where they want anything."""
    given = login(settings)
    if given is None:
        return None
    return Credentials(given.password, given.username, LOGIN_LASTS / 2 if settings.iam is not None else None)
