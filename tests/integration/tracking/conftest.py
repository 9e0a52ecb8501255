"""Where CLIENT TRACKING is tested: at a bare Redis, and through the proxy over one shard and over three."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from shardproxy.fleet import Fleet
from shardproxy.model import Address
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of

PLACES = ("redis", "one shard", "three shards")
QUIET = 0.2  # seconds in which what is on its way comes


class Place:
    """An address to test at, and what is behind it."""

    def __init__(self, fleet: Fleet, proxy: Proxy | None) -> None:
        self.fleet = fleet
        self.proxy = proxy

    @property
    def is_redis(self) -> bool:
        return self.proxy is None

    @property
    def address(self) -> Address:
        return self.fleet.shards[0].primary.address if self.proxy is None else self.proxy.address()


class Tracker(Wire):
    """A connection on which something may be told beside the replies."""

    def is_silent(self) -> bool:
        """Whether nothing comes for a moment."""
        self.socket.settimeout(QUIET)
        try:
            self.reply()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(10)
        return False


@pytest.fixture(scope="module", params=PLACES)
def place(
    request: pytest.FixtureRequest,
    start_fleet_for_module: StartFleet,
    start_proxy_for_module: StartProxy,
) -> Place:
    fleet = start_fleet_for_module(shards=3 if request.param == "three shards" else 1, replicas=0)
    if request.param == "redis":
        return Place(fleet, None)
    return Place(fleet, start_proxy_for_module(config_of(fleet, workers=2, commands={"allow": "*"})))


Connect = Callable[..., Tracker]


@pytest.fixture
def connect(place: Place) -> Iterator[Connect]:
    """Open connections to the place that close with the test; of this RESP version."""
    opened: list[Tracker] = []

    def connect(resp: int = 2) -> Tracker:
        tracker = Tracker(place.address)
        opened.append(tracker)
        if resp == 3:
            tracker.ask("HELLO", 3)
        return tracker

    for shard in place.fleet.shards:
        shard.primary.ask("FLUSHALL")  # type: ignore[attr-defined]
    yield connect
    for tracker in opened:
        tracker.close()
