"""What can go wrong with somebody else's keys."""

from __future__ import annotations


class ForeignError(Exception):
    """It cannot be reached, read or understood; the text says why and what to do, and has no secret."""
