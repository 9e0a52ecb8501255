"""Until when what we show is sure to be all there is: the boards `synced` and `leases`.

A member is synced as long as its own heartbeats come back to it; a follower as long as it sees leaders renew.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from shardproxy.model.board import Board
from shardproxy.store.kubernetes.dating import Dating
from shardproxy.store.kubernetes.life import Life
from shardproxy.store.kubernetes.names import Kind
from shardproxy.store.kubernetes.objects import DAMAGED, Stored
from shardproxy.store.kubernetes.pulse import NEVER
from shardproxy.store.kubernetes.shared import Shared

PATIENCE = 3.0  # seconds that a follower waits for a renewal: three of them
FRESH = 0.6  # of the time after which it is too late
LINGERS = PATIENCE / FRESH  # seconds from what a follower heard last until it is cut off
LOOK = 0.1  # seconds between looks
STALL = 1.0  # seconds between two looks: the process was frozen


class Freshness:
    """Shows `synced` and `leases`."""

    def __init__(self, shared: Shared, life: Life | None) -> None:
        self._shared = shared
        self._life = life  # None = a follower
        self._heard = NEVER  # when what a follower saw last was sent
        self._dating = Dating()
        self.synced: Board[str, bool] = Board()
        self.leases: Board[str, float] = Board()

    def heard(self, seen: Stored | None, *, is_listed: bool) -> bool:
        """A follower sees that: all that was before it has been seen. False: list, to know how old it is."""
        now, is_known = self._shared.clock(), True
        if is_listed:  # it was asked for no longer ago
            self._heard = max(self._heard, now - self._shared.times.request)
        if seen is not None and seen.kind is Kind.RENEW:
            try:
                turn, sent = int(seen.body["turn"]), float(seen.body["sent"])
            except DAMAGED:
                return True
            is_known = is_listed or not self._dating.is_new(seen.name, turn)
            dated = self._dating.sent(seen.name, turn, sent, now)
            if is_known:
                self._heard = max(self._heard, dated)
        self.look()
        return is_known

    @property
    def is_fresh(self) -> bool:
        """Whether nobody can know of a change that we do not."""
        now = self._shared.clock()
        if self._life is None:
            return now - self._heard < PATIENCE
        pulse = self._life.pulse
        return pulse.uid is not None and now < min(pulse.leased, pulse.echoed) + self._shared.times.fresh

    @property
    def _until(self) -> float:
        """Nobody waits for a follower, but one that was frozen must not go on as if it had not been."""
        return self._heard + LINGERS if self._life is None else self._life.pulse.expires

    async def run(self, *, silent: Callable[[], None], stalled: Callable[[], None]) -> None:
        """Show for ever. A follower that hears nothing calls `silent`; one that was frozen, `stalled`: what
        it hears next may be old."""
        asked = looked = self._shared.clock()
        while True:
            now = self._shared.clock()
            if self._life is None and now - looked > STALL:
                self._heard = NEVER
                stalled()
            elif self._life is None and not self.is_fresh and now - asked > 2 * PATIENCE:
                asked = now
                silent()
            looked = now
            self.look()
            await trio.sleep(LOOK)

    def look(self) -> None:
        """Show what is so now."""
        followed, is_fresh, until = self._shared.boards.followed, self.is_fresh, self._until
        for cluster in set(self.synced) - followed:
            self.synced.hide(cluster)
            self.leases.hide(cluster)
        for cluster in followed:
            self.synced.show(cluster, is_fresh)
            if until > NEVER:
                self.leases.show(cluster, until)
