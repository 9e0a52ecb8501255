"""What this process says of itself to the others that share its store."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator, Mapping

from shardproxy.config import Config
from shardproxy.config.addresses import WILDCARDS
from shardproxy.config.clusters import Cluster
from shardproxy.dataplane import BoundEndpoint
from shardproxy.model import Address
from shardproxy.store.member import Advertised

ELSEWHERE = (
    ("192.0.2.1", socket.AF_INET),
    ("2001:db8::1", socket.AF_INET6),
)  # of documentation: no packet is sent


def own_host() -> str:
    """How others reach this machine: its address on the way out, or its name where there is no way out."""
    for address, family in ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return str(probe.getsockname()[0])
    return socket.gethostname()


def endpoints_said(
    config: Config, bound: Mapping[str, tuple[BoundEndpoint, ...]], host: str, coming: Iterable[str]
) -> dict[str, tuple[Advertised, ...]]:
    """The same, and nowhere for those about to be served: others wait for this process from then on."""
    told = endpoints_advertised(config, bound, host) if bound else {}
    return {**dict.fromkeys(coming, ()), **told}


def endpoints_advertised(
    config: Config, bound: Mapping[str, tuple[BoundEndpoint, ...]], host: str
) -> dict[str, tuple[Advertised, ...]]:
    """Where clients reach each cluster here; `host` stands for whatever is listened on everywhere."""
    return {
        name: tuple(_advertised(cluster, {one.configured: one.bound for one in bound.get(name, ())}, host))
        for name, cluster in config.clusters.items()
    }


def _advertised(cluster: Cluster, bound: Mapping[Address, Address], host: str) -> Iterator[Advertised]:
    for kind, endpoint, is_tls in cluster.listened:
        told = getattr(endpoint, "advertise", None) or ()
        told = told if isinstance(told, tuple) else (told,)
        listened = [bound.get(address, address) for address in endpoint.addresses]
        for address in told or [reached(address, host) for address in listened if not address.is_unix]:
            yield Advertised(kind, str(address), is_tls)


def reached(address: Address, host: str) -> Address:
    """The address that others use for one that is listened on."""
    return Address(host, address.port) if address.host in WILDCARDS else address
