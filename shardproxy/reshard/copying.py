"""Waits until little is left to copy, while the nodes of both shards may change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from shardproxy.model.together import wait_first
from shardproxy.replication.interface import Copier, CopyPhase, CopyStatus
from shardproxy.reshard.course import AbandonedError, Course, StoppedError
from shardproxy.reshard.fence import Identity, identity_of
from shardproxy.reshard.flushes import Flushes, flushes_of, why_evicted
from shardproxy.reshard.lingering import Lingering
from shardproxy.reshard.parts import sources_of
from shardproxy.reshard.settings import OUT_OF_REACH
from shardproxy.wire.info import InfoError


@dataclass(frozen=True, slots=True)
class Copying:
    """What one copier does of a leg."""

    course: Course
    copier: Copier
    target: Identity  # that is copied to
    flushes: Flushes  # of it, before anything was copied
    mixed: Lingering  # since both shards hide what is not theirs

    async def wait_close(self) -> bool:
        """Wait until little is left; False when it has to begin anew.

        Raise CopyError, StoppedError or AbandonedError.
        """

        async def close() -> bool:
            await self.mixed.wait()
            await self.copier.wait_close()
            return True

        return await self._watched(close, self.course.settings.converge_within)

    async def compare(self) -> bool:
        """Have all that was copied compared before anybody waits; as `wait_close`, or CopyDiffersError."""
        within = self.course.settings.compare_within

        async def compare() -> bool:
            await self.copier.compare(within=within)
            return True

        return await self._watched(compare, within) and await self.wait_close()

    async def _watched(self, wait: Callable[[], Awaitable[bool]], within: float) -> bool:
        """What that returns, unless somebody else puts an end to it."""

        async def aborted() -> bool:
            await self.course.work.wait_aborted()
            raise AbandonedError

        if await wait_first(wait, aborted, lambda: self._look(within)):
            return True
        if self.course.work.is_paused:
            await self.copier.stop()
            self.course.show("paused: what is copied stays, and is copied again when it goes on")
            await self.course.work.wait_resumed()
            self.course.raise_if_aborted()
        return False

    async def _look(self, within: float) -> bool:
        """Tell how far it is, and of changed nodes; False when it is paused, or the target another one.

        It may follow for so many seconds; then StoppedError.
        """
        source = self.course.record(self.course.leg.move.source)
        followed_since: float | None = None
        while True:
            self.course.raise_if_other_families()
            status = self.copier.status
            self.course.show(status_text(status), done=status.scanned, total=status.total)
            raise_if_unguarded(status)
            if status.passes > self.course.settings.passes:
                raise StoppedError(
                    f"the copy was begun anew {status.passes - 1} times: its source is emptied, or its stream"
                    " lost, again and again before all is copied; move the slots when that has ended"
                )
            if status.phase is not CopyPhase.FOLLOWING:
                followed_since = None
            elif followed_since is None:
                followed_since = trio.current_time()
            elif trio.current_time() - followed_since > within:
                raise StoppedError(
                    f"keys change faster than they can be copied: {status.dirty} are left after"
                    f" {within:g} s; move fewer slots at once, or when less is written"
                )
            now = self.course.record(self.course.leg.move.source)
            if (now.primary, now.run_id, now.nodes, now.promise.voters) != (
                source.primary,
                source.run_id,
                source.nodes,
                source.promise.voters,
            ) and now.primary is not None:
                source = now
                await self.copier.sources(sources_of(now, self.course.engines))
            taker = self.course.record(self.course.leg.move.target)
            if taker.primary is not None and identity_of(taker) != self.target:
                self.course.in_vain("the target fails over again and again: see shardproxy events")
                return False
            if self.course.work.is_paused:
                return False
            await self.raise_if_it_evicts()
            await trio.sleep(self.course.settings.look)

    async def raise_if_it_evicts(self) -> None:
        """Asked while the target is copied to, as its own keys go as well, and when the copy differs."""
        target = self.course.record(self.course.leg.move.target)
        if target.primary is None:
            return
        nodes, within = self.course.engines.nodes, self.course.settings.retry
        try:
            now = await flushes_of(nodes, target.primary, target.run_id, within=within)
        except (*OUT_OF_REACH, InfoError):
            return  # its health says why, and it is asked once more before anything is published
        if (why := why_evicted(target.primary, self.flushes, now)) is not None:
            raise StoppedError(why)

    async def fails_over(self) -> bool:
        """Whether the copier failed as who it wrote to is another one now, or is about to be."""
        key = self.course.leg.move.target
        with trio.move_on_after(self.course.settings.fails_over_within):
            while identity_of(self.course.record(key)) == self.target:
                self.course.raise_if_aborted()
                await trio.sleep(self.course.settings.look)
            return True
        return False


def raise_if_unguarded(status: CopyStatus) -> None:
    """What a lost connection to the target was given may come late, unless it can be ended there."""
    if status.unguarded:
        raise StoppedError(
            f"{status.unguarded}: what they sent last could come when clients write there; allow the proxies'"
            " user CLIENT SETNAME, ID, LIST and KILL at the target"
        )


def status_text(status: CopyStatus) -> str:
    """How far a copier is, in a line."""
    text = f"{status.keys} keys copied, {status.scanned} of {status.total} looked at, {status.dirty} changed"
    if status.compared:
        text += f", {status.compared} compared"
    if status.passes > 1:
        text += f", begun anew {status.passes - 1} times"
    said = "; ".join(filter(None, (status.why, status.unguarded)))
    return f"{text} ({said})" if said else text
