"""Certificates that expire, and whether state can be kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from shardproxy.dataplane.tls import CertificateFile
from shardproxy.doctor.finding import Finding, bad, ok, warn

SOON = 14 * 86400.0  # seconds


def certificate_findings(
    about: str, certificates: Iterable[CertificateFile], now: float
) -> Iterator[Finding]:
    """Look at how long each is valid; `now` in seconds since 1970."""
    for one in certificates:
        until = datetime.fromtimestamp(one.not_after, UTC)
        shown = f"{one.name} ({one.file}) until {until:%Y-%m-%d %H:%M} UTC"
        look = f"openssl x509 -noout -dates -subject -in {one.file}  # then renew it: the file is read again"
        if one.not_after <= now:
            yield bad(about, "certificate", f"expired: {shown}", "clients and nodes refuse it", look)
        elif one.not_after - now < SOON:
            days = (one.not_after - now) / 86400
            yield warn(about, "certificate", f"{days:.0f} days left: {shown}", "then it is refused", look)
        else:
            yield ok(about, "certificate", shown)


def state_finding(path: Path) -> Finding:
    """Whether the state file can be written, or made."""
    existing = next((one for one in (path, *path.parents) if one.exists()), Path("/"))
    if os.access(existing, os.W_OK):
        return ok("config", "state", f"{path} can be written")
    return bad(
        "config",
        "state",
        f"{path} cannot be written",
        "the proxy does not start: it would forget who is primary",
        f"install -d -m 700 -o shardproxy -g shardproxy {path.parent}",
    )
