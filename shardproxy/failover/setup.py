"""What is configured of a shard and of failover; times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from shardproxy.model import Address, Node, SlotRange
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import Promise, ShardRecord, ShardState


@dataclass(frozen=True, slots=True)
class ShardSetup:
    """A shard as its config wants it."""

    key: ShardKey
    nodes: tuple[Node, ...]  # the first is the primary where nothing else is known
    name: str | None = None
    slots: tuple[SlotRange, ...] = ()  # while nobody has them on record
    slots_given: tuple[SlotRange, ...] | None = None  # as the config itself says; None = it does not
    wait: int = 0  # replicas that have a write before it is acknowledged
    is_managed: bool = False  # replication is built, not only followed
    is_automatic: bool = True  # fail over without being asked
    is_strict: bool = True  # a promotion waits until every live proxy has stopped sending to the last primary
    min_replicas: int | None = None  # min-replicas-to-write of every node; None = leave it
    persistence: tuple[tuple[str, str], ...] = ()  # settings of every node, in the order to set them
    is_bypassed: bool = False  # clients are told of its nodes, and ask them themselves
    decider: str | None = None  # what else decides who is primary; nothing is done to the nodes then

    @property
    def addresses(self) -> tuple[Address, ...]:
        return tuple(node.address for node in self.nodes)

    def zone_of(self, address: Address) -> str | None:
        return next((node.zone for node in self.nodes if node.address == address), None)


def record_new(setup: ShardSetup) -> ShardRecord:
    """The record of a shard that was never stored."""
    return ShardRecord(
        setup.key,
        0,
        ShardState.NEW,
        None,
        setup.addresses,
        name=setup.name,
        slots=setup.slots,
        promise=Promise(wait=setup.wait),
    )


@dataclass(frozen=True, slots=True)
class FailoverSettings:
    """Deadlines and limits."""

    command_timeout: float = 0.5  # one command to an engine
    freeze_timeout: float = 0.2  # a replica that takes longer is not waited for
    last_grace: float = 0.03  # the last primary is waited for so long once the others have answered
    fence_timeout: float = 2.0  # the data plane has stopped acknowledging by then, or we try again
    handover_timeout: float = 2.0  # FAILOVER gives up by itself
    relay_timeout: float = 10.0  # whoever is to be promoted has got what another node has by then
    adopt_after: float = 1.5  # nodes that are silent at start are not waited for any longer
    retry_interval: float = 0.5  # between tries that found too few replicas
    at_once: int = 3  # failovers
    at_start: int = 24  # shards whose first primary is made: nobody waits for anything else yet
    zone: str | None = None  # the proxy's
