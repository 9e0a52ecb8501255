"""This process's lease: what hangs on it is gone from etcd when the process is.

A lease that has ended is followed by another one, and whoever put something on it is told to do so again.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable

import structlog
import trio

from shardproxy.store.etcd.client import ATTEMPT, Client
from shardproxy.store.etcd.clock import boottime
from shardproxy.store.etcd.errors import EtcdRefusedError, EtcdUnavailableError, LeaseGoneError
from shardproxy.store.interface import StoreUnavailableError

BEATS = 6  # in the time to live
ATTEMPTS = 4  # in it: two members may be silent before anybody is out of date
MAX_PAUSE = 0.5  # seconds between two of them
RETRY = 0.1  # seconds, after one that failed: its deadline has passed before

log = structlog.get_logger()


class Session:
    """One lease after the other. `id` is the one that counts now; None while there is none."""

    def __init__(
        self,
        client: Client,
        ttl: float,
        *,
        before_new: Callable[[], Awaitable[None]],
        why_not: Callable[[], str | None] = lambda: None,
        on_beat: Callable[[], None],
        on_new: Callable[[], None],
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._client = client
        self._ttl = ttl
        self._attempt = min(ATTEMPT, ttl / ATTEMPTS)
        self._why_not = why_not
        self._before_new, self._on_beat, self._on_new = before_new, on_beat, on_new
        self._clock = clock
        self._has_left = False
        self.id: str | None = None
        self.ttl = ttl  # as granted
        self.sent = -math.inf  # when the last request went out that has prolonged it
        self.granted = -math.inf  # when the one went out that began it
        self.why_late = ""
        self._held = trio.Event()

    @property
    def until(self) -> float:
        """No sooner does etcd let go of it."""
        return self.sent + self.ttl if self.id is not None else -math.inf

    async def run(self) -> None:
        """Hold a lease until cancelled, or left."""
        while not self._has_left:
            try:
                await self._beat()
            except StoreUnavailableError as error:
                self._is_late(str(error))
                await trio.sleep(RETRY)
            else:
                self.why_late = ""
                await trio.sleep(min(MAX_PAUSE, self._ttl / BEATS))

    async def wait_held(self) -> None:
        """Wait until there is a lease that has not ended, as far as is known."""
        while self._clock() >= self.until:
            await self._held.wait()

    async def leave(self) -> None:
        """End the lease at once, and take no other; raise StoreUnavailableError when etcd was not told."""
        self._has_left = True
        lease, self.id = self.id, None
        if lease is not None:
            await self._revoke(lease)

    def is_gone(self, lease: str) -> None:
        """Somebody was told that the lease has ended."""
        if self.id == lease:
            self.id = None

    async def _beat(self) -> None:
        """Others wait for who holds a lease, so who hears of nothing lets it end."""
        if (why := self._why_not()) is not None:
            raise EtcdUnavailableError(why)
        if self.id is None:
            await self._grant()
            return
        lease, sent = self.id, self._clock()
        reply = await self._client.call("/v3/lease/keepalive", {"ID": lease}, attempt=self._attempt)
        left = int(reply.get("result", {}).get("TTL", 0))
        if lease != self.id:
            return  # it was left meanwhile
        if left > 0:
            self.sent = sent
            self._is_held()
            return
        log.warning("lease ended", why=f"etcd did not hear from this process for {self.ttl:g} s")
        self.id = None
        with contextlib.suppress(StoreUnavailableError):
            await self._revoke(lease)  # should it be there after all, nobody waits for it to end
        await self._grant()

    async def _grant(self) -> None:
        await self._before_new()
        sent = self._clock()
        reply = await self._client.call(
            "/v3/lease/grant", {"TTL": str(math.ceil(self._ttl))}, attempt=self._attempt
        )
        lease, ttl = str(reply.get("ID", "")), float(reply.get("TTL", 0))
        if not lease or ttl <= 0:
            raise EtcdUnavailableError("etcd has granted no lease")
        if self._has_left:
            await self._revoke(lease)
            return
        self.id, self.ttl, self.sent, self.granted = lease, ttl, sent, sent
        self._on_new()
        self._is_held()

    def _is_held(self) -> None:
        held, self._held = self._held, trio.Event()
        held.set()
        self._on_beat()

    async def _revoke(self, lease: str) -> None:
        try:
            await self._client.call("/v3/lease/revoke", {"ID": lease})
        except LeaseGoneError:
            pass
        except EtcdRefusedError as error:
            log.warning("lease not ended", why=str(error))

    def _is_late(self, why: str) -> None:
        if not self.why_late:
            log.warning("etcd does not hear from this process", why=why)
        self.why_late = why
