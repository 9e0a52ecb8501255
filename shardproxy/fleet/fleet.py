"""Shards of local engines, and their end: no process and no file is left, however the owner ends."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import trio

from shardproxy.fleet.directory import GuardedDirectory
from shardproxy.fleet.errors import EngineError
from shardproxy.fleet.memcached import MemcachedNode
from shardproxy.fleet.node import POLL_INTERVAL, START_TIMEOUT, EngineNode
from shardproxy.fleet.process import Launch, LocalProcess
from shardproxy.fleet.redis import EngineTls, RedisNode
from shardproxy.model import Engine


@dataclass(frozen=True, slots=True)
class FleetShard:
    """A primary and its replicas, as they were started: a failover does not change it."""

    index: int
    primary: EngineNode
    replicas: tuple[EngineNode, ...]

    @property
    def nodes(self) -> tuple[EngineNode, ...]:
        return (self.primary, *self.replicas)


class Fleet:
    """Owns its nodes and their directories. A context manager; for trio see `open_fleet`."""

    def __init__(
        self,
        shards: int = 3,
        replicas: int = 1,
        engine: Engine = Engine.REDIS,
        *,
        password: str | None = None,
        tls: EngineTls | None = None,
        args: Sequence[str] = (),
        host: str = "127.0.0.1",
        unix: bool = False,
        managed: bool = False,
        program: str | None = None,
        launch: Launch = LocalProcess,
    ) -> None:
        """`args` go to every node; `password` is what clients, proxy and replicas must give.

        `managed`: none starts as a primary, nor after a crash; a proxy with `replication: managed`
        makes one.
        """
        if engine is Engine.MEMCACHED and (replicas or password is not None):
            raise ValueError("memcached has neither replicas nor a password here")
        if managed and (engine is Engine.MEMCACHED or unix):
            raise ValueError("only Redis nodes on TCP replicate")
        if unix and replicas:
            raise ValueError("a replica cannot follow a primary on a unix socket: use replicas=0")
        self.engine = engine
        self.password = password
        self._tls = tls
        self.shards: tuple[FleetShard, ...] = ()
        self._plan = (shards, replicas)
        self._args = tuple(args)
        self._host = host
        self._unix = unix
        self._managed = managed
        self._program = program
        self._launch = launch
        self._nodes: list[EngineNode] = []
        self._numbers = itertools.count()
        self._root: GuardedDirectory | None = None

    @property
    def nodes(self) -> tuple[EngineNode, ...]:
        """Every node ever opened, also one that is down."""
        return tuple(self._nodes)

    @property
    def directory(self) -> Path:
        """Where all its files are; it goes with the fleet."""
        if self._root is None:
            raise EngineError("the fleet was never started")
        return self._root.path

    def config_shards(self) -> list[dict[str, Any]]:
        """The shards as a config lists them."""
        return [{"nodes": [str(node.address) for node in shard.nodes]} for shard in self.shards]

    def config_nodes(self) -> list[str]:
        """The nodes as the config of a memcached cluster lists them."""
        return [str(shard.primary.address) for shard in self.shards]

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start every node and wait until all serve."""
        deadline = time.monotonic() + timeout
        for group in self.begin():
            while waiting := [node for node in group if not node.is_ready()]:
                if time.monotonic() > deadline:
                    raise waiting[0].too_slow(timeout)
                time.sleep(POLL_INTERVAL)

    def begin(self) -> Iterator[Sequence[EngineNode]]:
        """Launch nodes group by group; each group must be ready before the next is asked for."""
        shards, replicas = self._plan
        primaries = [self._new_node(f"shard-{i}-primary") for i in range(shards)]
        yield primaries
        followers = [
            [self._new_node(f"shard-{i}-replica-{n}", replica_of=primary) for n in range(1, replicas + 1)]
            for i, primary in enumerate(primaries)
        ]
        yield [node for nodes in followers for node in nodes]
        self.shards = tuple(
            FleetShard(i, primary, tuple(nodes))
            for i, (primary, nodes) in enumerate(zip(primaries, followers, strict=True))
        )

    def open_node(
        self, *, replica_of: EngineNode | None = None, args: Sequence[str] = (), name: str | None = None
    ) -> EngineNode:
        """Start one more node, outside the shards, and wait until it serves."""
        node = self._new_node(name or f"extra-{next(self._numbers)}", replica_of=replica_of, args=args)
        node.start()
        return node

    def kill(self, node: EngineNode) -> None:
        """End a node as a crash would."""
        node.kill()

    def restart(self, node: EngineNode) -> None:
        """Start a node again on its address and wait until it serves (see `wait_ready` for trio)."""
        node.restart()

    def freeze(self, node: EngineNode) -> None:
        """Let a node hang with its connections open."""
        node.freeze()

    def thaw(self, node: EngineNode) -> None:
        node.thaw()

    def close(self) -> None:
        """End every node and remove every file. Idempotent.

        By SIGKILL: what SIGTERM would save is removed here anyway, and memcached takes a second to hear it.
        """
        for node in self._nodes:
            node.kill()
        if self._root is not None:
            self._root.close()
            self._root = None

    def __enter__(self) -> Fleet:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _new_node(
        self, name: str, replica_of: EngineNode | None = None, args: Sequence[str] = ()
    ) -> EngineNode:
        if self._root is None:
            self._root = GuardedDirectory()
        directory = self._root.path / name
        arguments = (*self._args, *args)
        node: EngineNode
        if self.engine is Engine.MEMCACHED:
            node = MemcachedNode(
                directory,
                name=name,
                host=self._host,
                unix=self._unix,
                args=arguments,
                program=self._program,
                launch=self._launch,
            )
        else:
            if replica_of is not None and not isinstance(replica_of, RedisNode):
                raise EngineError(f"{replica_of!r} cannot have replicas")
            node = RedisNode(
                directory,
                name=name,
                replica_of=None if self._managed else replica_of,
                is_managed=self._managed,
                password=self.password,
                tls=self._tls,
                host=self._host,
                unix=self._unix,
                args=arguments,
                program=self._program,
                launch=self._launch,
            )
        self._nodes.append(node)
        node.begin()
        return node


async def wait_ready(nodes: Iterable[EngineNode], timeout: float = START_TIMEOUT) -> None:
    """Wait until nodes that were begun serve; raise EngineError when one ends or is too slow."""
    waiting = list(nodes)
    deadline = trio.current_time() + timeout
    while waiting := [node for node in waiting if not node.is_ready()]:
        if trio.current_time() > deadline:
            raise waiting[0].too_slow(timeout)
        await trio.sleep(POLL_INTERVAL)


@asynccontextmanager
async def open_fleet(
    shards: int = 3, replicas: int = 1, engine: Engine = Engine.REDIS, **options: Any
) -> AsyncIterator[Fleet]:
    """Start a fleet and end it with the block, also by an error or cancellation. Options as of `Fleet`."""
    fleet = Fleet(shards, replicas, engine, **options)
    try:
        for group in fleet.begin():
            await wait_ready(group)
        yield fleet
    finally:
        with trio.CancelScope(shield=True):  # close has its own deadlines
            await trio.to_thread.run_sync(fleet.close)
