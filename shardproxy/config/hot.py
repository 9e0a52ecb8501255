"""Hot keys: how closely the proxy looks at what is asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shardproxy.config.base import Section


class HotKeys(Section):
    """Which requests are looked at, and how many keys are told."""

    enabled: bool = True
    """Look at requests at all. Without it neither hot nor large keys are known."""
    sample: Annotated[int, Field(ge=1, le=100_000)] = 16
    """One of so many requests is looked at, at random; 1 is for tests and for quiet clusters."""
    keys: Annotated[int, Field(ge=1, le=1000)] = 100
    """So many keys are told of each kind: the most requests, the most bytes, and the largest."""
