"""Has a settled shard's replica keep its settings in its own config file, when a service asks for it."""

from __future__ import annotations

from shardproxy.failover.healing import why_not_trusted
from shardproxy.failover.shard.tended import Tended
from shardproxy.failover.steps import StepError


async def keep_on_file(shard: Tended) -> None:
    """Do what is asked, unless the shard is not what whoever asks took it for. Never raises StepError."""
    chore = shard.shared.chores.wanted.get(shard.key)
    if chore is None or chore.over.is_set():
        return
    record = shard.record
    health = shard.healths().get(chore.primary)
    if (
        record.primary != chore.primary
        or chore.node not in record.replicas
        or why_not_trusted(record, health) is not None
    ):
        chore.end()
        return
    try:
        await shard.shared.steps.keep_on_file(chore.node, chore.primary, chore.run_id)
    except StepError as error:
        chore.end(error.why if error.is_refused else None)
    else:
        chore.end(is_done=True)
