"""Sites for the tests of failover."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from shardproxy.fleet.process import Launch
from tests.failover.site import OpenSite, Site, open_site


@pytest.fixture
def site_with(launch: Launch) -> Iterator[OpenSite]:
    """Open sites that end with the test: `site_with(shards=2, replicas=1, writes={"wait": 1})`."""
    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> Site:
            return stack.enter_context(open_site(*args, launch=launch, **options))

        yield start
