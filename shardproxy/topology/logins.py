"""What our own connections to nodes log in and speak TLS with.

Asked for when one opens, so a reload reaches each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeAlias, TypeVar

from shardproxy.config import Credentials as Given
from shardproxy.dataplane.spec import LOGIN_LASTS, ClusterSettings
from shardproxy.dataplane.tls import NodeTlsSettings
from shardproxy.model import Address, Topology
from shardproxy.nodes import Credentials, NodeTls
from shardproxy.topology.project import Configured
from shardproxy.topology.tokens import login_now

Login: TypeAlias = Callable[[ClusterSettings], Given | None]

T = TypeVar("T")


def tls_of(settings: ClusterSettings) -> NodeTls | None:
    """What they are spoken to in TLS with, if they are."""
    given = settings.node_tls
    if given is None:
        return None
    own = given.own
    return NodeTls(given.ca, own.certificate if own else None, own.key if own else None, given.server_name)


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
        return self._first(cluster, address, partial(credentials_of, login=self._login))

    def find_tls(self, cluster: str | None, address: Address) -> NodeTls | None:
        """The same for TLS."""
        for name, settings in self._clusters_of(cluster, address):
            if (given := settings.node_tls) is not None:
                made = self._tls.get(name)
                if made is None or made[0] is not given:
                    found = tls_of(settings)
                    assert found is not None
                    made = self._tls[name] = (given, found)
                return made[1]
        return None

    def _first(
        self, cluster: str | None, address: Address, pick: Callable[[ClusterSettings], T | None]
    ) -> T | None:
        found = (pick(settings) for _, settings in self._clusters_of(cluster, address))
        return next((one for one in found if one is not None), None)

    def _clusters_of(self, cluster: str | None, address: Address) -> Iterator[tuple[str, ClusterSettings]]:
        names = (
            [cluster]
            if cluster is not None
            else [
                name
                for name, topology in self._topologies.items()
                if any(node.address == address for node in topology.nodes)
            ]
        )
        for name in names:
            if (configured := self._clusters.get(name)) is not None:
                yield name, configured.settings


def credentials_of(settings: ClusterSettings, login: Login = login_now) -> Credentials | None:
    """What the nodes of a cluster want to hear now, where they want anything."""
    given = login(settings)
    if given is None:
        return None
    return Credentials(given.password, given.username, LOGIN_LASTS / 2 if settings.iam is not None else None)
