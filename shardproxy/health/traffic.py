"""What health asks of, and tells, those who send requests to nodes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from shardproxy.model import Address
from shardproxy.model.health import NO_STANDING, Standing


class Traffic(Protocol):
    """The data plane, with what the control plane sends for clients. Nothing here may wait."""

    def standing(self, cluster: str, node: Address) -> Standing:
        """What a node owes them that may take long, and when they last heard it."""

    def spare(self, cluster: str, node: Address, seconds: float) -> None:
        """A node is only busy: no connection to it is given up for its silence for so long."""

    def expect_slow(self, cluster: str, commands: Iterable[str]) -> None:
        """These commands took long lately, and may again; no others did."""

    def is_command(self, name: str) -> bool:
        """Whether there is a command, or subcommand, of that full name."""


class NoTraffic:
    """Nobody sends anything."""

    def standing(self, cluster: str, node: Address) -> Standing:
        return NO_STANDING

    def spare(self, cluster: str, node: Address, seconds: float) -> None: ...

    def expect_slow(self, cluster: str, commands: Iterable[str]) -> None: ...

    def is_command(self, name: str) -> bool:
        return False
