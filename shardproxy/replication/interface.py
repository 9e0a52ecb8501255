"""What moving, backing up, restoring and importing need of the threads that move the bytes.

    Copier    one engine's keys of some slots ─> other engines, and kept fresh until it is finished
    Snapshot  one engine's RDB, its own bytes ─> a file, verified while it is written
    Loader    RDB files ─> the shards of a cluster

Each is a thread of the data plane's crate. It reports, and never decides who is a primary.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from shardproxy.config import Credentials
from shardproxy.dataplane.tls import NodeTlsSettings
from shardproxy.model import Address, SlotRange

Slots = tuple[SlotRange, ...]


@dataclass(frozen=True, slots=True)
class End:
    """An engine, and how it is spoken to."""

    address: Address
    credentials: Credentials | None = field(default=None, repr=False)
    tls: NodeTlsSettings | None = field(default=None, repr=False)
    process: str | None = None  # run_id; a copier takes no other one at the address, None: any


@dataclass(frozen=True, slots=True)
class Target:
    """Who gets the keys of which slots."""

    slots: Slots
    end: End


class CopyPhase(enum.Enum):
    ATTACHING = "attaching"  # to the source's stream of commands
    CLEANING = "cleaning"  # what the targets have of the slots, and the source does not
    COPYING = "copying"  # the first copy
    FOLLOWING = "following"  # what changes is copied again
    FINISHED = "finished"
    FAILED = "failed"  # `why` says why; the source is untouched


class CopyFault(enum.Enum):
    """Of which kind it is that a copier failed, or did not do what it was asked."""

    LATE = "late"  # not done in time: it may be yet
    DIFFERS = "differs"  # a target has not what the source has
    TARGET_LOST = "target_lost"  # it is away, or a replica now: its shard may have failed over
    TARGET_REFUSES = "target_refuses"  # what it is sent, and will again: full, another version, no right to
    SOURCE_LOST = "source_lost"  # there is none, or its history was lost too often
    SOURCE_REFUSES = "source_refuses"  # to be read, or what it does cannot be followed
    OUTRUN = "outrun"  # more changes than can be copied
    LAPSED = "lapsed"  # its lease is over, or a later copier writes to a target
    DEFECT = "defect"  # it broke; the log says where

    @property
    def is_final(self) -> bool:
        """Another copier would fail as this one did."""
        return self in (CopyFault.DIFFERS, CopyFault.TARGET_REFUSES, CopyFault.SOURCE_REFUSES)


@dataclass(frozen=True, slots=True)
class Claim:
    """For whom is copied. A copier ends the connections of those of the cluster that came before it.

    Those of one run copy together.
    """

    cluster: str
    term: int  # of the leader: grows with each
    run: int


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What is copied. Nothing of the source is changed, ever."""

    sources: tuple[End, ...]  # nodes of one shard that have all of it, the one to read from first
    targets: tuple[Target, ...]
    families: tuple[tuple[str, str], ...] = ()  # key families: match and hash, as in the config
    database: int = 0
    replaces: bool = True  # what the targets have of the slots already is taken back
    rate: int = 0  # bytes a second of the first copy; 0 = as fast as the source's latency allows
    match: str | None = None  # only keys that match this glob
    follows: bool = True  # else: one pass over the keys, without the stream of changes
    claim: Claim | None = None  # None: it ends no others
    until: float | None = None  # its lease (CLOCK_BOOTTIME, seconds), renewed by `keep`; None: it needs none


@dataclass(frozen=True, slots=True)
class CopyStatus:
    """How far a copier is. Counts only grow within one pass, times are seconds."""

    phase: CopyPhase
    why: str = ""  # it failed, or is held up
    fault: CopyFault | None = None  # it failed
    keys: int = 0  # copied in this pass
    bytes: int = 0  # payload
    scanned: int = 0  # keys looked at, of `total`
    total: int = 0  # keys that the source had when the pass began
    dirty: int = 0  # marked as changed and not copied again yet
    unanswered: int = 0  # sent to targets without a reply yet
    offset: int = 0  # of the source's history: all changes up to it are marked
    replid: str = ""
    passes: int = 0  # how often it began anew: the source's history broke, or a target lost what it had
    resumed: int = 0  # how often it went on where it was after a lost connection
    shipped: int = 0  # big keys whose own commands are sent on
    checked: int = 0  # sampled keys that were compared and are equal
    compared: int = 0  # keys looked at on both sides by `compare`
    source: Address | None = None  # read from now
    unguarded: str = ""  # older copiers may not be ended at a target, which says why
    source_is_primary: bool = False  # there was no replica to read from
    seconds: float = 0.0

    @property
    def is_close(self) -> bool:
        """So little is left that a hold of milliseconds is enough for it."""
        return self.phase is CopyPhase.FOLLOWING and self.dirty < 100 and self.unanswered < 100


class CopyError(Exception):
    """It cannot go on, or was not done in time; the text says why and what to do."""

    def __init__(self, why: str, fault: CopyFault | None = None) -> None:
        super().__init__(why)
        self.fault = fault  # of a copier


class CopyDiffersError(CopyError):
    """A target has not what the source has: what was copied is of no use."""

    def __init__(self, why: str, fault: CopyFault = CopyFault.DIFFERS) -> None:
        super().__init__(why, fault)


class Copier(Protocol):
    """One copy from one source; it ends with `stop`, whatever became of it."""

    @property
    def status(self) -> CopyStatus: ...

    async def wait_close(self) -> None:
        """Return when little is left (`is_close`); raise CopyError when it failed."""

    async def reach(
        self, offset: int, replid: str, *, within: float, replicas: int = 0, rests: bool = False
    ) -> None:
        """Return when all changes up to this offset of that history are with the targets and answered.

        And with so many replicas of each target: WAIT on another connection would not wait for what this one
        wrote. The same offset of another history is never reached: a failover begins one. Raise CopyError
        when that took longer, it failed, or rests. `rests`: and then it has rested.
        """

    async def verify(self, *, within: float) -> int:
        """Compare a sample of keys on both sides, and all names where there is time; how many were compared.

        While nothing changes in the slots, and after `reach`, also while it rests. Raise CopyDiffersError
        with what differs, or CopyError when it could not be compared.
        """

    async def compare(self, *, within: float) -> int:
        """Compare all keys on both sides while clients write and it follows; return how many were looked at.

        Names, types, ends, sizes, and values up to 256 elements or 16 KiB. What differs though the source's
        stream tells of no change until then was lost: raise CopyDiffersError. Raise CopyError when it took
        longer, or failed. A change that is lost after its key was looked at shows to `verify` alone.
        """

    def keep(self, until: float) -> None:
        """Nothing is written to a target from then on (CLOCK_BOOTTIME, seconds): it fails instead, LAPSED."""

    async def rest(self, *, within: float) -> None:
        """Return when all is with the targets and nothing more will be written, until `go_on`.

        What the source does from then on, like expiring a key, is none of the targets' business.
        Raise CopyError.
        """

    def go_on(self) -> None:
        """Follow the source again."""

    async def sources(self, sources: Sequence[End]) -> None:
        """The source's shard has these nodes now, the one to read from first."""

    async def stop(self) -> None:
        """End the thread and its connections."""


class SnapshotPhase(enum.Enum):
    CONNECTING = "connecting"
    WAITING = "waiting"  # asked; the engine has not begun
    FORKED = "forked"  # what the RDB will hold is fixed from here on
    READING = "reading"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RdbSummary:
    """What an RDB file was found to hold while it was read."""

    bytes: int
    sha256: str
    keys: int
    keys_per_slot: Mapping[int, int]  # slots without keys are left out
    strays: int  # keys of other slots than it should have: leftovers
    expires: int  # keys with a time to live
    functions: int  # libraries
    functions_sha256: str
    databases: tuple[int, ...]
    types: Mapping[str, int]  # of values, by name
    engine: str = ""  # redis or valkey, and its version
    replid: str = ""
    offset: int = -1
    version: int = 0  # of the RDB, which payloads of its values have too
    is_checked: bool = True  # its own checksum vouches for it; an engine may have written none
    modules: tuple[str, ...] = ()  # whose values are in it, by the names of their types
    longest: int = 0  # bytes of the longest value


@dataclass(frozen=True, slots=True)
class SnapshotStatus:
    phase: SnapshotPhase
    why: str = ""
    bytes: int = 0
    keys: int = 0
    replid: str = ""  # from FORKED on
    offset: int = -1
    summary: RdbSummary | None = None  # when it is DONE


class Snapshot(Protocol):
    """Reads one engine's RDB at full speed into a new file, and verifies it meanwhile."""

    @property
    def status(self) -> SnapshotStatus: ...

    async def wait(self, *phases: SnapshotPhase) -> SnapshotStatus:
        """Return once it is, or has passed, one of these phases; raise CopyError when it failed."""

    async def stop(self) -> None:
        """End it; a file that is not DONE is removed."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What is restored to whom."""

    files: tuple[Path, ...]
    targets: tuple[Target, ...]  # all slots between them, or what falls elsewhere is an error
    owned: tuple[Slots, ...] = ()  # of each file: slots whose keys count; others are leftovers. () = all
    families: tuple[tuple[str, str], ...] = ()
    database: int | None = (
        0  # the only one that files may have keys of; None: each key into its own, with one target
    )
    match: str | None = None
    replaces: bool = False  # keys that are there; else one that is there is an error
    functions: bool = True  # libraries go to every target
    positions: tuple[
        int, ...
    ] = ()  # where to go on in each file, as told by an earlier one's status; () = begin


@dataclass(frozen=True, slots=True)
class LoadStatus:
    is_over: bool = False
    why: str = ""  # it failed
    keys: int = 0  # restored and answered
    bytes: int = 0  # of the files, read
    total: int = 0  # bytes of all files
    leftovers: int = 0  # keys skipped as not the file's
    expired: int = 0  # keys skipped as their time is over
    unmatched: int = 0
    functions: int = 0
    position: tuple[int, int] = (
        0,
        0,
    )  # first file that is not through, and the byte up to which all is answered
    positions: tuple[int, ...] = ()  # the same of each file: where to go on
    seconds: float = 0.0


class Loader(Protocol):
    """Restores RDB files; one thread a file at most, one pipeline a target."""

    @property
    def status(self) -> LoadStatus: ...

    async def wait(self) -> LoadStatus:
        """Return when all is restored; raise CopyError when it failed."""

    async def stop(self) -> None: ...
