"""Whether an engine can take another one's keys. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from shardproxy.replication.payloads import is_read, payload_of
from shardproxy.reshard.survey import Survey

FULL = 0.8  # of maxmemory: what a target may use with all that comes
EVICTING = 0.95  # of maxmemory: whoever may evict does so now
SKEW = 0.5  # seconds that two clocks may differ: times to live are moments of the source's clock

OLDEST = (5, 0)  # before, scripts come to a reader as they were called, and not what they did


def written_by(engine: Survey) -> int | None:
    """The version of what its DUMP gives; None where it is not known, or the engine too old."""
    if engine.version < OLDEST:
        return None
    return payload_of(engine.version, is_valkey=engine.engine == "valkey")


def why_unfit(source: Survey, target: Survey, comes: int) -> str | None:
    """Why keys of so many bytes cannot go from one to the other, with what to do; None when they can."""
    return next(_faults(source, target, comes), None)


def _faults(source: Survey, target: Survey, comes: int) -> Iterator[str]:
    if others := [db for db in (*source.databases, *target.databases) if db != 0]:
        yield (
            f"databases {', '.join(map(str, sorted(set(others))))} have keys, and several shards have"
            " database 0 alone: move these keys there, or delete them"
        )
    if fault := _why_unreadable(source, target):
        yield fault
    if missing := sorted((source.modules or {}).keys() - (target.modules or {}).keys()):
        yield f"{target.address} lacks the module {', '.join(missing)} of {source.address}: load it there"
    skew = abs(source.clock - target.clock)
    if skew - source.clock_error - target.clock_error > SKEW:
        yield (
            f"the clocks of {source.address} and {target.address} are {skew:.1f} s apart, so times to live"
            " would change: set them right"
        )
    if target.most:
        if target.evicts != "noeviction" and target.used >= EVICTING * target.most:
            yield (
                f"{target.address} evicts keys now ({target.used >> 20} of {target.most >> 20} MiB used):"
                " give it more memory"
            )
        if target.used + comes > FULL * target.most:
            yield (
                f"{target.address} would be full: about {comes >> 20} MiB come to {target.used >> 20} MiB"
                f" used of {target.most >> 20} MiB, and {FULL:.0%} of that may be: give it more memory"
            )
    if source.bulk_most and target.bulk_most and target.bulk_most < source.bulk_most:
        yield (
            f"{target.address} takes values up to {target.bulk_most} bytes and {source.address} up to"
            f" {source.bulk_most}: set proto-max-bulk-len alike"
        )


def _why_unreadable(source: Survey, target: Survey) -> str | None:
    gives, takes = written_by(source), written_by(target)
    if gives is None or takes is None:
        strange = source if gives is None else target
        return f"{strange.address} is {strange.said_version}, which is not known here"
    if is_read(gives, takes, is_same_engine=source.engine == target.engine):
        return None
    return (
        f"{target.address} ({target.said_version}) cannot read what {source.address} ({source.said_version})"
        " writes: bring it to the same version"
    )


def warnings_of(source: Survey, target: Survey) -> Iterator[str]:
    """What may go wrong, and need not."""
    if not target.most:
        yield f"{target.address} has no maxmemory: whether all fits cannot be told"
    if source.modules is None or target.modules is None:
        yield f"the modules of {source.address} or {target.address} are not shown: nobody compares them"
    if not source.has_replicas:
        yield f"{source.address} has no replica, so the primary itself is copied from"
