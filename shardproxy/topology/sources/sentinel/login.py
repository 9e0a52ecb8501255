"""What Sentinels are logged in to, and spoken to in TLS, with."""

from __future__ import annotations

from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.nodes import Credentials, NodeTls
from shardproxy.topology.logins import node_tls_of


def decider_access(settings: ClusterSettings) -> tuple[Credentials | None, NodeTls | None]:
    """Both, as links take them."""
    given = settings.decider_login
    login = Credentials(given.password, given.username) if given is not None else None
    return login, node_tls_of(settings.decider_tls)
