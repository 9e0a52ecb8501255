"""Who may use a cluster."""

from __future__ import annotations

from shardproxy.config.base import Section
from shardproxy.config.inbound import GroupNames


class Access(Section):
    """Who may use a cluster."""

    inbound: GroupNames | tuple[()] = ()
    """Security groups: only from the addresses they name may clients connect, and over unix sockets, whose
    files say who may open them. Default: from anywhere."""
