"""What tests of many proxies ask for."""

from __future__ import annotations

from contextlib import closing

from tests.failover.load import Ledger
from tests.fixtures.proxy import wait_until
from tests.fleet.site import Proxies


def wait_written(ledger: Ledger, since: float, *ways: str, timeout: float = 30.0) -> float:
    """Wait until a write that began after that moment was acknowledged by each way; the longest time."""
    for way in ways:
        wait_until(
            lambda: ledger.first_after(since, way) is not None,  # noqa: B023
            lambda: f"writes go on through {way}: {dict(ledger.errors)}",  # noqa: B023
            timeout=timeout,
        )
    return max(ledger.first_after(since, way) or 0.0 for way in ways)


def assert_sound(site: Proxies, ledger: Ledger) -> None:
    """Nothing acknowledged is lost, and nothing is wrong in the histories of all."""
    site.wait_whole()
    with closing(site.reader()) as reader:
        found = ledger.found(reader)
    assert ledger.why_lossy(found) + ledger.why_unsound(found) == []
    assert site.why_wrong(ledger, found) == []


def errors_but(ledger: Ledger, *expected: str) -> dict[str, int]:
    return {kind: count for kind, count in ledger.errors.items() if kind not in expected}


def names(numbers: list[int]) -> list[str]:
    return [f"proxy-{number}" for number in numbers]
