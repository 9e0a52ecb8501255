"""The leader's service: measures, decides, advises, and asks for a job where shards are ready.

every LOOK: INFO of the primaries that have slots ─> Samples ─> decide ─> event | JobDesk.start
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace

import structlog
import trio

from shardproxy.failover.event_log import EventLog
from shardproxy.failover.events import EventName
from shardproxy.failover.interfaces import Nodes, SlotDesk
from shardproxy.jobs.desk import JobDesk
from shardproxy.jobs.interface import JobError
from shardproxy.jobs.job import Job
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeError, NodeFailure
from shardproxy.scaling.advice import Scaled
from shardproxy.scaling.decide import Advice, Rules, Sample, Samples, decide
from shardproxy.scaling.load import Load, Reading, load_average, load_of, reading
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.notes import Notes, is_paused
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.wire.info import InfoError, read_fields

LOOK = 30.0  # seconds between samples
TIMEOUT = 2.0  # seconds of one exchange
AT_ONCE = 16  # nodes that are asked
KIND = "reshard"  # of the job

REQUESTS = (("INFO", "server"), ("INFO", "cpu"), ("INFO", "memory"))

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ScalingTools:
    """What the service needs of its process."""

    nodes: Nodes
    jobs: JobDesk
    notes: Notes
    events: EventLog
    rules_of: Callable[[str], tuple[Rules, bool] | None]  # as configured now, and whether it acts
    scaled: MutableMapping[str, Scaled]  # for the status
    now: Callable[[], float]  # seconds since 1970, as jobs are dated


async def run_scaling(desk: SlotDesk, tools: ScalingTools) -> None:
    """Watch the desk's cluster while `scaling` is configured, until cancelled."""
    samples, readings, said = Samples(), dict[Address, Reading](), ""
    try:
        while True:
            configured = tools.rules_of(desk.cluster)
            if configured is None:
                samples, readings, said = Samples(), {}, ""
                tools.scaled.pop(desk.cluster, None)
            else:
                rules, acts = configured
                load, readings = await _measure(desk, tools.nodes, readings)
                owners = [record for record in desk.records.values() if record.slots]
                samples.add(Sample(trio.current_time(), load), len(owners))
                said = await _advise(desk, tools, samples, rules, said, acts=acts)
            await trio.sleep(LOOK)
    finally:
        tools.scaled.pop(desk.cluster, None)


async def _measure(
    desk: SlotDesk, nodes: Nodes, before: Mapping[Address, Reading]
) -> tuple[Load, dict[Address, Reading]]:
    """The shards' average load since the last time, and what was read."""
    found: dict[Address, Reading] = {}
    loads: list[Load] = []
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def ask(record: ShardRecord) -> None:
        async with limiter:
            now = await _read(nodes, record.primary) if record.primary is not None else None
        if now is None or record.primary is None:
            loads.append(Load())
        else:
            found[record.primary] = now
            loads.append(load_of(before.get(record.primary), now))

    async with trio.open_nursery() as nursery:
        for record in desk.records.values():
            if record.slots:
                nursery.start_soon(ask, record)
    return load_average(loads), found


async def _read(nodes: Nodes, node: Address) -> Reading | None:
    try:
        replies = await nodes.request_many(node, REQUESTS, timeout=TIMEOUT)
        fields = {name: value for reply in replies for name, value in read_fields(reply).items()}
    except (NodeFailure, NodeError, InfoError):
        return None
    return reading(fields.get("run_id", ""), fields, trio.current_time())


async def _advise(
    desk: SlotDesk, tools: ScalingTools, samples: Samples, rules: Rules, said: str, *, acts: bool
) -> str:
    """Decide, act or say what to do; return what was said last."""
    cluster = desk.cluster
    last = last_change(tools.jobs.jobs(cluster))
    since = tools.now() - last.ended_at if last is not None and last.state.is_over else math.inf
    advice = decide(rules, samples, max(0.0, since))
    ready = sum(is_ready(desk, key) for key in desk.setups)
    scaled = Scaled(advice, samples.found[-1].load, ready)
    text, does = plan(advice, ready, cluster, acts=acts and not is_paused(tools.notes, cluster))
    under_way = any(not job.state.is_over for job in tools.jobs.jobs(cluster))
    tools.scaled[cluster] = replace(scaled, text=text)
    if does is not None and not under_way:
        try:
            await tools.jobs.start(cluster, KIND, {"do": "scale", "shards": does})
        except (JobError, StoreUnavailableError) as error:
            text = f"{text}: {error}"
        else:
            tools.events.add(EventName.SCALING_ASKED, ShardKey(cluster, 0), text)
            return ""
    elif does is not None:
        return said  # one change at a time
    if text and text != said:
        tools.events.add(EventName.SCALING_ADVISED, ShardKey(cluster, 0), text)
    return text


def plan(advice: Advice, ready: int, cluster: str, *, acts: bool) -> tuple[str, int | None]:
    """What is said, and how many shards a job is asked for; nothing of it while there is nothing to do."""
    if advice.wanted == advice.shards or advice.waits > 0:
        return "", None
    wish = f"{advice.shards} shards have slots, {advice.wanted} should: {advice.why}"
    possible = min(advice.wanted, advice.shards + ready)
    command = f"shardproxy scale {cluster} --shards"
    if advice.wanted > advice.shards and possible == advice.shards:
        missing = advice.wanted - advice.shards
        hint = f"list {missing} more in the config, with slots: none"
        return f"{wish}. No shard is ready: {hint}, and then {command} {advice.wanted}", None
    if not acts:
        return f"{wish}. {command} {possible}", None
    return wish, possible


def is_ready(desk: SlotDesk, key: ShardKey) -> bool:
    """Whether a shard could be given slots: it is served, and has none."""
    record = desk.records.get(key)
    return record is not None and record.state is ShardState.OK and not record.slots


def last_change(jobs: tuple[Job, ...]) -> Job | None:
    """The last job that moved slots, or tried to: it is rested after that, too."""
    return next((job for job in reversed(jobs) if job.kind == KIND), None)
