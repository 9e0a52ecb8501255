"""How many clients may wait at once for a command that takes no part in the bounds of others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """So many clients of a cluster may wait for the command; `refusal` is what more are told."""

    most: int
    refusal: str
