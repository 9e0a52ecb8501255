"""What to say of certificates that are served: until when they are valid, and how their keys are kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

import structlog

from shardproxy.dataplane.tls import CertificateFile, key_warnings
from shardproxy.topology.reload import Clusters

DAY = 86400.0  # seconds
SOON = 14 * DAY

Certificates = Mapping[str, tuple[CertificateFile, ...]]  # by cluster

log = structlog.get_logger()


def certificates_of(settings: Clusters) -> Certificates:
    """All certificates of each cluster that has any."""
    return {name: one.certificates for name, one in settings.items() if one.certificates}


def expiry_warnings(certificates: Iterable[CertificateFile], now: float) -> Iterator[str]:
    """Say which have expired, or soon will; `now`: seconds since 1970."""
    for one in certificates:
        left = one.not_after - now
        if left <= 0:
            yield f"{one.file}: the certificate for {one.name} has expired: nobody who verifies it connects"
        elif left < SOON:
            yield f"{one.file}: the certificate for {one.name} expires in {left / DAY:.1f} days"


def warn_of_certificates(settings: Clusters) -> None:
    """Tell the log."""
    for name, of_cluster in settings.items():
        for why in expiry_warnings(dict.fromkeys(of_cluster.certificates), time.time()):
            log.warning("certificate", cluster=name, why=why)
        for why in key_warnings(of_cluster.certificates):
            log.warning("private key", cluster=name, why=why)
