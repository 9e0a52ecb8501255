"""Has files loaded into the shards of a cluster, over failovers, pauses and changes of the leader.

memo: position ─> loader ─┬─ done                          ─> next database
                          ├─ paused, given up              ─> stopped; where it was is remembered
                          ├─ failed, the shards as before  ─> again from where it was, a few times
                          └─ a shard has another primary   ─> again from the beginning: it may lack some
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from shardproxy.config.sizes import format_size
from shardproxy.failover.interfaces import SlotDesk
from shardproxy.importing.means import Means, Position, numbered
from shardproxy.importing.restore.files import RdbFile
from shardproxy.importing.targets import Owner, owners_wait, owners_wait_changed
from shardproxy.importing.wants import RestoreWants
from shardproxy.jobs.interface import JobError, Work
from shardproxy.replication.interface import CopyError, Loader, LoadPlan, LoadStatus

TRIES = 5  # that came no further
SAVE_EVERY = 5.0  # seconds
SHOW_EVERY = 0.5
LASTING = ("BUSYKEY", "OOM")  # what is no better for being tried again
PAUSE = 1.0  # seconds before another try

START: Position = (0, 0)


@dataclass(slots=True)
class Loaded:
    """What was restored, of all databases."""

    keys: int = 0
    leftovers: int = 0
    expired: int = 0
    unmatched: int = 0
    functions: int = 0

    def add(self, status: LoadStatus) -> None:
        self.keys += status.keys
        self.leftovers += status.leftovers
        self.expired += status.expired
        self.unmatched += status.unmatched
        self.functions = max(self.functions, status.functions)


@dataclass(slots=True)
class Loading:
    """One restore."""

    means: Means
    desk: SlotDesk
    work: Work
    wants: RestoreWants
    files: tuple[RdbFile, ...]
    memo: dict[str, Any] = field(default_factory=dict)
    loaded: Loaded = field(default_factory=Loaded)

    async def run(self, databases: tuple[int, ...]) -> bool:
        """Load them, one after another; say whether it was finished, not given up. Raise JobError."""
        for number in databases:
            if number < self.memo.get("database", 0):
                continue
            if self.memo.get("database", number) != number:
                self.memo |= {"position": list(START)}
            self.memo |= {"began": True, "database": number}
            if not await self._load(number):
                return False
            self.memo |= {"database": number + 1, "position": list(START)}
            await self.work.save(self.memo)
        return True

    async def _load(self, database: int) -> bool:
        failed, reached = 0, START
        while not self.work.is_aborted:
            owners = await owners_wait(self.desk)
            position = self._position(owners)
            self.memo |= {"owners": dict(numbered(owners)), "position": list(position)}
            is_first = "loaded" not in self.memo
            self.memo["loaded"] = True  # from here on what is there may be ours
            await self.work.save(self.memo)
            loader = self.means.start_loader(self._plan(owners, database, is_first=is_first), position)
            try:
                why = await self._watch(loader, owners)
            finally:
                with trio.CancelScope(shield=True):
                    await loader.stop()
            status = loader.status
            if why is None and status.is_over:
                self.loaded.add(status)
                return True
            self.memo["position"] = list(max(position, status.position))
            await self.work.save(self.memo)
            if why:
                failed = 0 if status.position > reached else failed + 1
                reached = max(reached, status.position)
                if failed >= TRIES or any(word in why for word in LASTING):
                    raise JobError(
                        f"{why}. {status.keys} keys are restored; once that is mended, ask for the restore"
                        " again with --replace"
                    )
                await trio.sleep(PAUSE)
            await self.work.wait_resumed()
        return False

    def _position(self, owners: tuple[Owner, ...]) -> Position:
        """Where to go on: from the beginning where a shard may lack what it had."""
        if self.memo.get("owners") != dict(numbered(owners)):
            self.loaded = Loaded(functions=self.loaded.functions)
            return START
        file, byte = self.memo.get("position", START)
        return int(file), int(byte)

    def _plan(self, owners: tuple[Owner, ...], database: int, *, is_first: bool) -> LoadPlan:
        cluster = self.desk.cluster
        return LoadPlan(
            files=tuple(file.path for file in self.files),
            targets=self.means.targets(cluster, owners),
            owned=tuple(file.owned for file in self.files) if any(file.owned for file in self.files) else (),
            families=self.means.families_of(cluster),
            database=database,
            match=self.wants.match,
            replaces=self.wants.replaces or not is_first,
            functions=self.wants.functions,
        )

    async def _watch(self, loader: Loader, owners: tuple[Owner, ...]) -> str | None:
        """Why it failed, empty where it was only interrupted; None when it is done."""
        outcome: list[str | None] = [""]

        async def end() -> None:
            try:
                await loader.wait()
                outcome[0] = None
            except CopyError as error:
                outcome[0] = str(error)
            nursery.cancel_scope.cancel()

        async def interrupt(what: Any, *args: Any) -> None:
            await what(*args)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end)
            nursery.start_soon(interrupt, owners_wait_changed, self.desk, owners)
            nursery.start_soon(interrupt, self._wait_told)
            nursery.start_soon(self._show, loader)
        return outcome[0]

    async def _wait_told(self) -> None:
        """An operator has paused it, or given it up."""
        while True:
            if self.work.is_paused or self.work.is_aborted:
                return
            await trio.sleep(SHOW_EVERY)

    async def _show(self, loader: Loader) -> None:
        save_at = trio.current_time() + SAVE_EVERY
        while True:
            status = loader.status
            self.work.show(
                "restoring", what="bytes", done=status.bytes, total=status.total, text=progress_text(status)
            )
            if trio.current_time() >= save_at:
                self.memo["position"] = list(status.position)
                await self.work.save(self.memo)
                save_at = trio.current_time() + SAVE_EVERY
            await trio.sleep(SHOW_EVERY)


def progress_text(status: LoadStatus) -> str:
    rate = f", {status.keys / status.seconds:,.0f} keys/s" if status.seconds > 1 else ""
    return f"{status.keys} keys, {format_size(status.bytes)} of {format_size(status.total)}{rate}"


def result_of(loaded: Loaded) -> Mapping[str, Any]:
    said = [f"{loaded.keys} keys restored"]
    for count, what in (
        (loaded.expired, "expired before"),
        (loaded.leftovers, "left over from moves of slots"),
        (loaded.unmatched, "did not match"),
        (loaded.functions, "libraries of functions"),
    ):
        if count:
            said.append(f"{count} {what}")
    return {
        "keys": loaded.keys,
        "expired": loaded.expired,
        "leftovers": loaded.leftovers,
        "unmatched": loaded.unmatched,
        "functions": loaded.functions,
        "text": ", ".join(said),
    }
