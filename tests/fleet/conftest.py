"""Sites of many proxies, in a network of their own where this machine allows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.failover.network import Places, own_network, why_no_network
from tests.fleet.site import Proxies, open_proxies

OpenProxies = Callable[..., Proxies]


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    """Who connects from where; skips where links cannot be cut."""
    if (why_not := why_no_network()) is not None:
        pytest.skip(why_not)
    with own_network():
        yield Places()


@pytest.fixture
def proxies_with(places: Places) -> Iterator[OpenProxies]:
    """Open sites that end with the test: `proxies_with(3, shards=1, writes={"wait": 1})`."""
    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> Proxies:
            return stack.enter_context(open_proxies(*args, places=places, **options))

        yield start
        places.mend()


@pytest.fixture(scope="module")
def durable(places: Places) -> Iterator[Proxies]:
    """Three proxies and three members of etcd before a shard of three nodes: a write is on two of them."""
    with open_proxies(3, places=places, writes={"wait": 1}) as site:
        yield site


@pytest.fixture
def site(durable: Proxies, places: Places) -> Iterator[Proxies]:
    """The module's site, whole: a test mends what it breaks, or the next one finds out."""
    durable.wait_whole()
    yield durable
    places.mend()
