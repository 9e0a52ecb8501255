"""Whether what a node was sent explains that it is silent. Pure.

    heard  |── sent what may take long ──| asked in vain ──────────> silent: explained
    heard  |── asked in vain ──| sent what may take long ──────────> silent: not by that

One that was sent only after the silence began is not why. And a host that does not even acknowledge our
questions is gone, or we are cut off from it.
"""

from __future__ import annotations

from shardproxy.health.history import History
from shardproxy.model.health import Busy, Standing

MARGIN = 0.1  # seconds: what is told of requests is so old at most, and a question may wait its turn as long


def explanation(standing: Standing, history: History, ask_interval: float) -> Busy | None:
    """The request that a node's silence is due to, as far as that can be known."""
    busy = standing.busy
    if busy is None or history.is_out_of_reach or history.is_refusing:
        return None
    begun = max(history.heard_at + ask_interval, standing.heard_at or 0.0) + MARGIN
    return busy if busy.since <= begun else None
