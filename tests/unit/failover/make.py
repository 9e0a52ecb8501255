"""Short ways to write nodes, healths and records in tables."""

from __future__ import annotations

from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, Node
from shardproxy.model.health import Cause, NodeHealth, NodeState, Verdict
from shardproxy.model.replication import DEAD_END, Lineage, Replication, Role, Server, ShardKey
from shardproxy.store.record import Promise, ShardRecord, ShardState

KEY = ShardKey("sessions", 0)
A, B, C = (Address("10.0.0.1", 7001), Address("10.0.0.2", 7001), Address("10.0.0.3", 7001))
X = Lineage("x" * 40)
Y = Lineage("y" * 40)


def setup(*nodes: Address, is_managed: bool = True, wait: int = 0, is_automatic: bool = True) -> ShardSetup:
    members = tuple(Node(node) for node in nodes or (A, B, C))
    return ShardSetup(KEY, members, wait=wait, is_managed=is_managed, is_automatic=is_automatic)


def primary(lineage: Lineage = X, offset: int = 500) -> Replication:
    return Replication(Role.PRIMARY, lineage, offset)


def replica(
    of: Address = A,
    lineage: Lineage = X,
    offset: int = 500,
    *,
    is_up: bool = True,
    is_syncing: bool = False,
    priority: int = 100,
) -> Replication:
    return Replication(
        Role.REPLICA, lineage, offset, follows=of, is_link_up=is_up, is_syncing=is_syncing, priority=priority
    )


def frozen(lineage: Lineage = X, offset: int = 500, **options: int) -> Replication:
    return replica(DEAD_END, lineage, offset, is_up=False, **options)  # type: ignore[arg-type]


def health(
    replication: Replication | None,
    state: NodeState = NodeState.UP,
    cause: Cause | None = None,
    *,
    run_id: str = "r",
    manager: str | None = None,
    epoch: int = 1,
    synced_at: float | None = None,
    is_current: bool | None = None,
) -> NodeHealth:
    server = Server(run_id) if replication is not None else None
    verdict = Verdict(state, "because", 0.0, cause)
    if is_current is None:  # a replica whose link is up usually is
        is_current = replication is not None and replication.is_link_up
    if synced_at is None and is_current:
        synced_at = 0.0
    return NodeHealth(
        verdict,
        replication,
        server,
        manager,
        is_surveyed=True,
        epoch=epoch,
        synced_at=synced_at,
        is_current=is_current,
    )


def down(cause: Cause, replication: Replication | None = None, *, run_id: str = "r") -> NodeHealth:
    return health(replication, NodeState.DOWN, cause, run_id=run_id)


def record(
    node: Address | None = A,
    state: ShardState = ShardState.OK,
    *,
    nodes: tuple[Address, ...] = (A, B, C),
    joined: tuple[Address, ...] = (A, B, C),
    last: Address | None = None,
    target: Address | None = None,
    wait: int = 0,
    voters: tuple[Address, ...] | None = None,
    pending: tuple[Promise, ...] = (),
    lineage: Lineage | None = X,
    epoch: int = 1,
    floor: int = 0,
) -> ShardRecord:
    vouching = frozenset(joined) - {node or last} if voters is None else frozenset(voters)
    return ShardRecord(
        KEY,
        epoch,
        state,
        node,
        nodes,
        joined=joined,
        last=last,
        target=target,
        promise=Promise(vouching, wait),
        pending=pending,
        floor=floor,
        lineage=lineage,
        run_id="r" if lineage else "",
        processes=tuple((member, "r") for member in joined if member != node),
        revision=1,
    )
