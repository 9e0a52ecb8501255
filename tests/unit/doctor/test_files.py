"""Certificates by their ends, addresses by trying, and where state is kept."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from shardproxy.dataplane.tls import CertificateFile
from shardproxy.doctor.files import certificate_findings, state_finding
from shardproxy.doctor.finding import Verdict
from shardproxy.doctor.sockets import listening_findings
from shardproxy.model import Address

DAY = 86400.0
NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("left", "verdict"),
    [(-1.0, Verdict.BAD), (0.0, Verdict.BAD), (13 * DAY, Verdict.WARN), (15 * DAY, Verdict.OK)],
)
def test_certificates_are_judged_by_what_is_left_of_them(left: float, verdict: Verdict) -> None:
    one = CertificateFile("tls.crt", "cache.example.com", NOW + left, "tls.key")
    (finding,) = certificate_findings("main", [one], NOW)
    assert finding.verdict is verdict
    assert "cache.example.com (tls.crt)" in finding.found
    assert (verdict is Verdict.OK) == (not finding.mend)


def test_state_has_to_be_written(tmp_path: Path) -> None:
    assert state_finding(tmp_path / "made" / "state.json").verdict is Verdict.OK
    finding = state_finding(Path("/proc/1/state.json"))
    assert (finding.verdict, finding.mend.split()[-1]) == (Verdict.BAD, "/proc/1")


def test_an_address_that_is_taken_is_bad_unless_by_the_proxy_that_runs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        (finding,) = listening_findings([("admin", address)], is_served=False)
        assert finding.verdict is Verdict.BAD
        assert finding.mend.startswith(f"ss -ltnp 'sport = :{address.port}'")
        (finding,) = listening_findings([("admin", address)], is_served=True)
        assert finding.verdict is Verdict.OK


def test_an_address_of_another_machine_is_bad() -> None:
    (finding,) = listening_findings([("main", Address("192.0.2.1", 7000))], is_served=True)
    assert (finding.verdict, finding.mend.partition("  #")[0]) == (Verdict.BAD, "ip -brief address")


def test_a_socket_needs_its_directory(tmp_path: Path) -> None:
    places = [("a", Address(path=str(tmp_path / "a"))), ("b", Address(path=str(tmp_path / "none" / "b")))]
    first, second = listening_findings(places, is_served=False)
    assert (first.verdict, second.verdict) == (Verdict.OK, Verdict.BAD)
