"""Percentiles of the data plane's fine buckets. Pure.

A bucket is never wider than a quarter of the times in it, so that a percentile is right to about a tenth.
What many workers or shards took is added up bucket by bucket, never by their percentiles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

Buckets = Iterable[
    tuple[int, int]
]  # number of a bucket (src/metrics/histogram.rs), and how many times are in it

EXACT = 4  # below so many microseconds each has a bucket of its own
LAST = 92  # all beyond 16.8 s
MICROSECOND = 1e-6


def bucket_bounds(bucket: int) -> tuple[float, float]:
    """From where to where a bucket's times are, in seconds; the last one's have no end, and stand there."""
    if bucket < EXACT:
        return bucket * MICROSECOND, (bucket + 1) * MICROSECOND
    shift, part = (bucket >> 2) - 1, bucket & 3
    low = (4 + part) << shift
    high = low if bucket >= LAST else (5 + part) << shift
    return low * MICROSECOND, high * MICROSECOND


def quantile(buckets: Buckets, q: float) -> float | None:
    """The time that the part `q` of all times (0-1) is within, in seconds; None where there are none."""
    counts = sorted((bucket, count) for bucket, count in buckets if count > 0)
    total = sum(count for _, count in counts)
    wanted, before = q * total, 0
    for bucket, count in counts:
        if before + count >= wanted:
            low, high = bucket_bounds(bucket)
            return low + (high - low) * max(wanted - before, 0) / count
        before += count
    return None


def cumulative(buckets: Buckets, powers: Iterable[int]) -> tuple[int, ...]:
    """How many times are below each of these powers of two, microseconds; from 4 on, in ascending order."""
    counts, found, total = dict(buckets), [], 0
    bucket = 0
    for power in powers:
        end = (power - 1) << 2
        total += sum(counts.get(number, 0) for number in range(bucket, end))
        bucket = end
        found.append(total)
    return tuple(found)


def added(parts: Iterable[Buckets]) -> tuple[tuple[int, int], ...]:
    """Of all parts together."""
    total: Counter[int] = Counter()
    for part in parts:
        for bucket, count in part:
            total[bucket] += count
    return tuple(sorted(total.items()))


def since(now: Buckets, before: Buckets) -> tuple[tuple[int, int], ...]:
    """What has come since; all of it where counters began anew."""
    known: Mapping[int, int] = dict(before)
    left = tuple((bucket, count - known.get(bucket, 0)) for bucket, count in now)
    return tuple(now) if any(count < 0 for _, count in left) else tuple(pair for pair in left if pair[1])
