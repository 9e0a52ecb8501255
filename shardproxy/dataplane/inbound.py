"""From where clients may connect, and which balancers speak for theirs, as the data plane is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, TypedDict

from shardproxy.config import Admitted, Cluster, Endpoint, ProxyProtocol, SecurityGroup
from shardproxy.config.inbound import Network, admitted, networks

InboundSpec = TypedDict("InboundSpec", {"from": list[str], "endpoints": list[str] | None})


@dataclass(frozen=True, slots=True)
class InboundSettings:
    """What is configured of that, names of groups resolved."""

    admitted: tuple[Admitted, ...] | None = None  # None: whoever comes
    balancers: tuple[tuple[ProxyProtocol, tuple[Network, ...]], ...] = ()  # of each endpoint that has such

    @classmethod
    def read(cls, config: Cluster, groups: Iterable[SecurityGroup]) -> Self:
        """Resolve what a cluster names; raise KeyError for a group that is not there."""
        groups = tuple(groups)
        names = config.access.inbound if config.access is not None else ()
        balanced = tuple(
            (endpoint.proxy_protocol, networks(groups, endpoint.proxy_protocol.sources))
            for _, endpoint, _ in config.listened
            if endpoint.proxy_protocol is not None
        )
        return cls(admitted(groups, names) if names else None, balanced)

    def spec(self) -> list[InboundSpec] | None:
        """What the rules are; None where there are none."""
        return None if self.admitted is None else [_rule(rule) for rule in self.admitted]

    def balancers_of(self, endpoint: Endpoint) -> list[str] | None:
        """The balancers of an endpoint; None where it is not for such."""
        for protocol, found in self.balancers:
            if protocol == endpoint.proxy_protocol:
                return [str(network) for network in found]
        return None


OPEN = InboundSettings()


def _rule(rule: Admitted) -> InboundSpec:
    endpoints = None if rule.endpoints is None else sorted(kind.value for kind in rule.endpoints)
    return InboundSpec({"from": [str(network) for network in rule.networks], "endpoints": endpoints})
