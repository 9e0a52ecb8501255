"""How users are verified whose logins are no matter of a password, as they are served now."""

from __future__ import annotations

from collections.abc import Mapping

from shardproxy.access.verifiers import Kind
from shardproxy.topology.project import Configured


def kind_of(clusters: Mapping[str, Configured], cluster: str, user: str) -> Kind | None:
    """Who verifies a user of a cluster; None where a password does, or there is no such user."""
    configured = clusters.get(cluster)
    users = (configured.settings.users if configured is not None else None) or ()
    found = next((one.verified_by for one in users if one.name == user), None)
    return Kind(found) if found is not None else None
