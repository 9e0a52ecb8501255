"""What a process has found out last of how many shards its clusters should have; for people and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from shardproxy.scaling.decide import Advice
from shardproxy.scaling.load import Load


@dataclass(frozen=True, slots=True)
class Scaled:
    """Of one cluster that this process leads."""

    advice: Advice
    load: Load
    ready: int  # shards without slots, whose primaries are up
    text: str = ""  # what is to be done by an operator, or why nothing is done
