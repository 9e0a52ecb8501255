"""Follows the Sentinels of one cluster: asks each, and has every shard looked at when there is news."""

from __future__ import annotations

import trio

from shardproxy.config import RedisCluster
from shardproxy.config.topology import FromSentinel
from shardproxy.failover.events import EventName
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.topology.delegated import shards_delegated
from shardproxy.topology.sources.sentinel.asker import NOT_ASKED, SentinelAsker
from shardproxy.topology.sources.sentinel.decide import majority
from shardproxy.topology.sources.sentinel.handover import WHY_NO_TARGET, WHY_NOT, hand_over
from shardproxy.topology.sources.sentinel.login import decider_access
from shardproxy.topology.sources.sentinel.shard import FollowedShard, Surroundings
from shardproxy.topology.sources.source import DeciderStatus, SourceInputs
from shardproxy.topology.sources.spelling import Spelling


class SentinelSource:
    """See above."""

    def __init__(self, inputs: SourceInputs) -> None:
        config = inputs.settings.config
        assert isinstance(config, RedisCluster), "it has a decider"
        assert isinstance(config.decider, FromSentinel), "as this source is chosen by"
        names = config.decider.names
        login, tls = decider_access(inputs.settings)
        self._inputs = inputs
        self._askers = tuple(
            SentinelAsker(address, tuple(names.values()), self._answered, self._hinted, login, tls)
            for address in config.decider.sentinels
        )
        spelling = Spelling(node.address for shard in config.shards for node in shard.nodes)
        shared = Surroundings(inputs, self._askers, spelling)
        self._shards = {
            setup.key: FollowedShard(setup, names[setup.name], shared)
            for setup in shards_delegated(inputs.cluster, config, inputs.showing.records)
            if setup.name is not None
        }
        self._trouble: str | None = None

    async def run(self) -> None:
        self._inputs.showing.keep_only(self._shards)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._inputs.showing.epochs.run)
            nursery.start_soon(self._run_hints)
            for asker in self._askers:
                nursery.start_soon(asker.run)
            for shard in self._shards.values():
                nursery.start_soon(shard.run)

    # --- what wakes shards up ---

    def _answered(self) -> None:
        self._say_how_it_stands()
        for shard in self._shards.values():
            shard.news.ring()

    def _hinted(self, text: str) -> None:
        """Something happens at a Sentinel, as it says: it may be to one of these."""
        words = text.split()
        for shard in self._shards.values():
            if shard.name in words:
                shard.look_closely()

    async def _run_hints(self) -> None:
        async for address in self._inputs.hints:
            for shard in self._shards.values():
                if shard.served is not None and address == shard.served.primary:
                    shard.news.ring()

    # --- what an operator should know ---

    def _say_how_it_stands(self) -> None:
        """Once all were asked: whether enough of them answer."""
        if any(asker.why_silent == NOT_ASKED for asker in self._askers):
            return
        answering = sum(asker.why_silent is None for asker in self._askers)
        needed = majority(len(self._askers))
        trouble = None
        if answering < needed:
            silent = "; ".join(f"{a.address}: {a.why_silent}" for a in self._askers if a.why_silent)
            trouble = (
                f"{answering} of {len(self._askers)} Sentinels answer, {needed} are needed: what was served"
                f" last is served on, and a write counts once every replica has it ({silent})"
            )
        if (trouble is None) != (self._trouble is None):
            name = EventName.ALARM if trouble is not None else EventName.ALARM_CLEARED
            said = trouble or "enough Sentinels answer again"
            self._inputs.events.add(name, min(self._shards), said)
        self._trouble = trouble

    @property
    def status(self) -> DeciderStatus:
        troubles = (shard.trouble for shard in self._shards.values() if shard.trouble is not None)
        return DeciderStatus(
            "sentinel",
            {str(asker.address): asker.why_silent for asker in self._askers},
            self._trouble or next(troubles, None),
        )

    # --- what operators ask for ---

    async def switch_over(self, key: ShardKey, to: Address | None) -> str | None:
        if to is not None:
            return WHY_NO_TARGET
        shard = self._shards.get(key)
        return await hand_over(shard, self._inputs, self._askers) if shard is not None else "it is gone"

    async def promote(self, key: ShardKey, to: Address) -> str | None:
        return WHY_NOT["promote"]

    def why_not(self, action: str) -> str:
        return WHY_NOT[action]
