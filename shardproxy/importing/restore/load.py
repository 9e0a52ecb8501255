"""Has files loaded into the shards of a cluster, over failovers, pauses and changes of the leader.

memo: positions ─> loader ─┬─ done
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
from shardproxy.importing.means import Means, numbered
from shardproxy.importing.restore.files import RdbFile
from shardproxy.importing.targets import Owner, owners_wait, owners_wait_changed
from shardproxy.importing.wants import RestoreWants
from shardproxy.jobs.interface import JobError, Work
from shardproxy.replication.interface import CopyError, Loader, LoadPlan, LoadStatus

TRIES = 5  # that came no further
SAVE_EVERY = 5.0  # seconds
SHOW_EVERY = 0.5
LASTING = (
    "is there already: restore into an empty cluster, or with --replace",
    "raise its maxmemory, or restore into more shards",
    "raise its proto-max-bulk-len",
    ": not restored",
)  # how the loader ends what is no better for being tried again; names of keys stand before
PAUSE = 1.0  # seconds before another try


@dataclass(slots=True)
class Loaded:
    """What was restored, by this process."""

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

    async def run(self) -> bool:
        """Load them; say whether that was finished, not given up. Raise JobError."""
        failed, reached = 0, -1
        while not self.work.is_aborted:
            owners = await owners_wait(self.desk)
            plan = self._plan(owners, self._positions(owners))
            self.memo |= {"owners": dict(numbered(owners)), "positions": list(plan.positions), "loaded": True}
            await self.work.save(self.memo)  # from here on what is there may be ours
            try:
                loader = self.means.start_loader(plan)
            except CopyError as error:
                raise JobError(str(error)) from error
            try:
                why = await self._watch(loader, owners)
            finally:
                with trio.CancelScope(shield=True):
                    await loader.stop()
            status = loader.status
            self.loaded.add(status)
            if why is None:
                return True
            self._remember(status)
            await self.work.save(self.memo)
            if why:
                at = sum(status.positions)
                failed, reached = (0, at) if at > reached else (failed + 1, reached)
                if failed >= TRIES or why.endswith(LASTING):
                    raise JobError(
                        f"{why}. {self.loaded.keys} keys are restored; once that is mended, ask for the"
                        " restore again with --replace"
                    )
                await trio.sleep(PAUSE)
            await self.work.wait_resumed()
        return False

    def _positions(self, owners: tuple[Owner, ...]) -> tuple[int, ...]:
        """Where to go on, by file: from the beginning where a shard may lack what it had."""
        if "loaded" in self.memo and self.memo.get("owners") != dict(numbered(owners)):
            self.loaded = Loaded()
            return ()
        return tuple(int(byte) for byte in self.memo.get("positions", ()))

    def _remember(self, status: LoadStatus) -> None:
        if status.positions:
            self.memo["positions"] = list(status.positions)

    def _plan(self, owners: tuple[Owner, ...], positions: tuple[int, ...]) -> LoadPlan:
        cluster = self.desk.cluster
        is_again = "loaded" in self.memo and not positions
        return LoadPlan(
            files=tuple(file.path for file in self.files),
            targets=self.means.targets(cluster, owners),
            owned=tuple(file.owned for file in self.files) if any(file.owned for file in self.files) else (),
            families=self.means.families_of(cluster),
            database=None if len(owners) == 1 else 0,
            match=self.wants.match,
            replaces=self.wants.replaces or is_again,
            functions=self.wants.functions,
            positions=positions,
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
                self._remember(status)
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
