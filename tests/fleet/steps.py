"""Strikes at the moment when a failover has come to a step, as the store tells."""

from __future__ import annotations

import threading
from collections.abc import Callable

from shardproxy.store.record import ShardState
from tests.fleet.site import Proxies

PATIENCE = 15.0  # seconds until the step is there


class AtStep(threading.Thread):
    """Does something at once when the shard's record is of that state, in an epoch after the one of now."""

    def __init__(self, site: Proxies, state: ShardState, act: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        assert site.recorded is not None
        self._puts = site.recorded.watch(site.recorded.revision() + 1, timeout=PATIENCE)
        self._state = state
        self._act = act
        self._epoch = int(site.shard()["epoch"])
        self.has_acted = False
        self.start()

    def run(self) -> None:
        for put in self._puts:
            record = put.record
            if record is not None and record.state is self._state and record.epoch > self._epoch:
                self._act()
                self.has_acted = True
                return
