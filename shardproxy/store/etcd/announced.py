"""What this process says of itself, on its lease: kept in etcd as it is meant, whatever becomes of either.

    say ─> wanted ─┐
                   ├─> what differs ─> one transaction ─> told
    watch ─> told ─┘

What is said many times in a row is written once.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from shardproxy.store.etcd.errors import LeaseGoneError
from shardproxy.store.etcd.messages import Entry, Outcome, to_delete, to_put
from shardproxy.store.etcd.session import Session
from shardproxy.store.etcd.transactions import Transactions
from shardproxy.store.interface import StoreUnavailableError

MAX_OPERATIONS = 64  # of one transaction; etcd's default limit is 128
RETRY = 0.2  # seconds

log = structlog.get_logger()


class Announced:
    """Keys on the lease, by what they should be."""

    def __init__(
        self, transactions: Transactions, session: Session, *, on_told: Callable[[], None] = lambda: None
    ) -> None:
        self._transactions = transactions
        self._session = session
        self._on_told = on_told
        self._wanted: dict[str, bytes] = {}
        self._told: dict[str, Entry] = {}
        self._since: dict[str, int] = {}  # the revision since when the key is there, on this lease
        self._news = trio.Event()
        self._settled = trio.Event()
        self._why_not = ""

    def say(self, key: str, value: bytes | None) -> None:
        """Have a key be like that from now on; None = there should be none."""
        if value is None:
            self._wanted.pop(key, None)
        else:
            self._wanted[key] = value
        self.wake()

    async def wait_told(self, key: str, *, within: float) -> None:
        """Wait until etcd has the key as it should be; raise StoreUnavailableError."""
        with trio.move_on_after(within):
            while key in self._different():
                settled = self._settled
                await settled.wait()
        if key in self._different():
            raise StoreUnavailableError(self._why_not or f"etcd was not told within {within:g} s")
        await trio.lowlevel.checkpoint()

    def since(self, key: str) -> int | None:
        """The revision since when all others know of a key; None = they do not, 0 = it is not wanted."""
        return self._since.get(key) if key in self._wanted else 0

    def is_seen(self, entry: Entry) -> None:
        """The watch has told of a key of ours."""
        known = self._told.get(entry.key)
        if known is None or entry.revision > known.revision:
            self._is_told(entry)
            if entry.key in self._different():
                self.wake()

    def is_new_lease(self) -> None:
        """Nothing of what was said before hangs on it."""
        self._told.clear()
        self._since.clear()
        self.wake()

    def clear(self) -> None:
        """Nothing is to be said any more."""
        self._wanted.clear()
        self._told.clear()
        self._since.clear()

    def wake(self) -> None:
        self._news.set()

    async def run(self) -> None:
        """Write what differs, until cancelled."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            try:
                await self._write()
            except StoreUnavailableError as error:
                if not self._why_not:
                    log.warning("etcd does not know what this process says", why=str(error))
                self._why_not = str(error)
                self._news.set()
                await trio.sleep(RETRY)
            else:
                self._why_not = ""

    def _is_told(self, entry: Entry) -> None:
        self._told[entry.key] = entry
        if entry.value is None or entry.lease != self._session.id:
            self._since.pop(entry.key, None)
        else:
            self._since.setdefault(entry.key, entry.revision)

    def _different(self) -> list[str]:
        return [key for key in {**self._wanted, **self._told} if not self._is_as_wanted(key)]

    def _is_as_wanted(self, key: str) -> bool:
        wanted, told = self._wanted.get(key), self._told.get(key)
        if wanted is None or told is None:
            return wanted is None and (told is None or told.value is None)
        return told.value == wanted and told.lease == self._session.id

    async def _write(self) -> None:
        while (lease := self._session.id) is not None and (keys := self._different()):
            keys = keys[:MAX_OPERATIONS]
            values = {key: self._wanted.get(key) for key in keys}
            operations = [
                to_put(key, value, lease) if value is not None else to_delete(key)
                for key, value in values.items()
            ]
            try:
                done = await self._transactions.make((), operations)
            except LeaseGoneError:
                self._session.is_gone(lease)
                raise
            if lease == self._session.id:
                self._keep(values, done, lease)

    def _keep(self, values: dict[str, bytes | None], done: Outcome, lease: str) -> None:
        for key, value in values.items():
            known = self._told.get(key)
            if known is None or known.revision < done.revision:
                self._is_told(Entry(key, value, done.revision, lease=lease))
            if value is None and key not in self._wanted:
                self._told.pop(key, None)
        settled, self._settled = self._settled, trio.Event()
        settled.set()
        self._on_told()


Say = Callable[[str, bytes | None], None]
