"""What our own connections to nodes log in and speak TLS with.

Asked for when one opens, so a reload reaches each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from shardproxy.config import Credentials as Given
from shardproxy.dataplane.spec import LOGIN_LASTS, ClusterSettings
from shardproxy.dataplane.tls import NodeTlsSettings
from shardproxy.model import Address, Topology
from shardproxy.nodes import Credentials, NodeTls
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
        self._tls: dict[str, tuple[NodeTlsSettings, NodeTls]] = {}  # made once: that takes a millisecond

    def find(self, cluster: str | None, address: Address) -> Credentials | None:
        """What that cluster has; None stands for the first of the node's clusters that has any."""
        found = (credentials_of(settings, self._login) for _, settings in self._settings(cluster, address))
        return next((credentials for credentials in found if credentials is not None), None)

    def find_tls(self, cluster: str | None, address: Address) -> NodeTls | None:
        """The same for TLS."""
        for name, settings in self._settings(cluster, address):
            if (given := settings.node_tls) is not None:
                made = self._tls.get(name)
                if made is None or made[0] is not given:
                    tls = node_tls_of(given)
                    assert tls is not None
                    made = self._tls[name] = (given, tls)
                return made[1]
        return None

    def _settings(self, cluster: str | None, address: Address) -> Iterator[tuple[str, ClusterSettings]]:
        for name in [cluster] if cluster is not None else self._having(address):
            if (configured := self._clusters.get(name)) is not None:
                yield name, configured.settings

    def _having(self, address: Address) -> Iterator[str]:
        for name, topology in self._topologies.items():
            if any(node.address == address for node in topology.nodes):
                yield name


def credentials_of(settings: ClusterSettings, login: Login = login_now) -> Credentials | None:
    """What the nodes of a cluster want to hear now, where they want anything."""
    given = login(settings)
    if given is None:
        return None
    return Credentials(given.password, given.username, LOGIN_LASTS / 2 if settings.iam is not None else None)


def tls_of(settings: ClusterSettings) -> NodeTls | None:
    """What they are spoken to in TLS with, if they are."""
    return node_tls_of(settings.node_tls)


def node_tls_of(given: NodeTlsSettings | None) -> NodeTls | None:
    """Settings as connections of the control plane take them."""
    if given is None:
        return None
    own = given.own
    return NodeTls(given.ca, own.certificate if own else None, own.key if own else None, given.server_name)
