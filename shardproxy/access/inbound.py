"""Whether one may connect from an address. Pure: knows nothing of files, sockets or names of groups."""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from shardproxy.config import Admitted
from shardproxy.config.inbound import Network

Ranges = tuple[tuple[int, int], ...]  # sorted, apart from each other


@dataclass(frozen=True, slots=True)
class Inbound:
    """Addresses from which one may connect."""

    old: Ranges  # IPv4
    new: Ranges  # IPv6

    @classmethod
    def of_admin(cls, rules: Iterable[Admitted]) -> Self:
        """What admits to the admin API: rules that name endpoints are about these alone."""
        return cls.of(network for rule in rules if rule.endpoints is None for network in rule.networks)

    @classmethod
    def of(cls, networks: Iterable[Network]) -> Self:
        """All addresses of these networks, which may overlap."""
        ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for network in networks:
            ranges[network.version].append((int(network[0]), int(network[-1])))
        return cls(_merged(ranges[4]), _merged(ranges[6]))

    def is_admitted(self, peer_ip: str) -> bool:
        """Whether one may connect from this address; empty for a unix socket, where files say who may.

        IPv4 within IPv6 counts as IPv4. What is no address is not admitted.
        """
        if not peer_ip:
            return True
        try:
            address = ipaddress.ip_address(peer_ip.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address):
            if (mapped := address.ipv4_mapped) is None:
                return _holds(self.new, int(address))
            address = mapped
        return _holds(self.old, int(address))


def _merged(ranges: list[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def _holds(ranges: Ranges, address: int) -> bool:
    place = bisect_right(ranges, address, key=lambda one: one[0]) - 1
    return place >= 0 and address <= ranges[place][1]
