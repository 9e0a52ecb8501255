"""What the control plane sends to nodes for clients that may take long, until the reply is in."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import trio

from shardproxy.commands.table import Command, Table
from shardproxy.dataplane import DataPlane
from shardproxy.model import Address
from shardproxy.model.health import Busy, Standing, standing_of_all


class Errands:
    """Counts for health as what the workers send does."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, Address], dict[int, Busy]] = {}
        self._heard: dict[tuple[str, Address], float] = {}
        self._slow: dict[str, frozenset[str]] = {}  # names by cluster
        self._numbers = itertools.count()

    def expect_slow(self, cluster: str, commands: Iterable[str]) -> None:
        """These took long lately there, and may again; no others did."""
        self._slow[cluster] = frozenset(commands)

    def may_be_slow(self, cluster: str, command: Command) -> bool:
        """By its nature, or as of late. One that is quick by its nature was held up."""
        if command.is_slow:
            return True
        return "fast" not in command.flags and command.name in self._slow.get(cluster, ())

    @contextmanager
    def under_way(self, cluster: str, node: Address, command: str, client_id: int) -> Iterator[None]:
        """A client's command is sent to a node, and answered when this is left."""
        key, number = (cluster, node), next(self._numbers)
        busy = Busy(command, trio.current_time(), f"client id {client_id}")
        self._under_way.setdefault(key, {})[number] = busy
        try:
            yield
            self._heard[key] = trio.current_time()
        finally:
            mine = self._under_way[key]
            del mine[number]
            if not mine:
                del self._under_way[key]

    def standing(self, cluster: str, node: Address) -> Standing:
        """What a node owes; when it last answered such a command."""
        busy = min(self._under_way.get((cluster, node), {}).values(), key=lambda b: b.since, default=None)
        return Standing(busy, self._heard.get((cluster, node)))


@dataclass(frozen=True, slots=True)
class AllTraffic:
    """All that this process sends to nodes for clients, as health sees it."""

    dataplane: DataPlane
    errands: Errands
    table: Table  # no engine teaches us subcommands, so the one we start with has all

    def standing(self, cluster: str, node: Address) -> Standing:
        return standing_of_all((self.dataplane.standing(cluster, node), self.errands.standing(cluster, node)))

    def spare(self, cluster: str, node: Address, seconds: float) -> None:
        self.dataplane.spare(cluster, node, seconds)

    def expect_slow(self, cluster: str, commands: Iterable[str]) -> None:
        names = frozenset(commands)
        self.dataplane.expect_slow(cluster, names)
        self.errands.expect_slow(cluster, names)

    def is_command(self, name: str) -> bool:
        return self.table.get(name) is not None
