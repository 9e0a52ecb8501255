"""How long moves wait for what, and what is worth another try."""

from __future__ import annotations

from dataclasses import dataclass, field

from shardproxy.failover.interfaces import FenceError, NotSettledError
from shardproxy.nodes import NodeError, NodeFailure
from shardproxy.reshard.fence import FenceSettings
from shardproxy.reshard.sample import ScanError
from shardproxy.reshard.sweep import SweepError
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.wire.info import InfoError


@dataclass(frozen=True, slots=True)
class CarrySettings:
    """Times in seconds."""

    fence: FenceSettings = field(default_factory=FenceSettings)
    look: float = 0.25  # between looks at how far the copier is
    serve_within: float = 10.0  # every proxy hides what is not its shards' by then
    converge_within: float = 120.0  # from the end of the first copy until little is left
    compare_within: float = 6 * 3600.0  # all keys, on both sides, while clients write
    retry: float = 1.0  # after an engine or the store was not there
    undo_tries: int = 30
    answers_within: float = 2.0  # an engine, to a question about itself
    settle_within: float = 60.0  # a failover is over by then
    fails_over_within: float = 5.0  # it is seen by then why a target was lost
    passes: int = 20  # of one copier, from the beginning: its source was emptied, or its stream lost
    differing: int = 3  # copies in which a difference was found
    copies: int = 5  # begun anew: the target is another process, or a copier that had ended was of no use


OUT_OF_REACH = (
    NodeFailure,
    NodeError,
    ScanError,
    SweepError,
    InfoError,
    StoreUnavailableError,
    NotSettledError,
    FenceError,
)
