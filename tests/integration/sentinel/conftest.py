"""One site for many tests: each that hurts nodes has a shard of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.sentinel.site import SentinelSite, open_sentinel_site


@pytest.fixture(scope="module")
def site() -> Iterator[SentinelSite]:
    """Four shards of three nodes, and three Sentinels. `wait`: what is acknowledged is on a replica, too."""
    with open_sentinel_site(4, 2, writes={"wait": 1}) as found:
        yield found
