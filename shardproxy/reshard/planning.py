"""What a job would move, how much that is and whether it fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from shardproxy.config.slots import format_slots
from shardproxy.failover.interfaces import SlotDesk
from shardproxy.failover.sealing import SealError, seals_put
from shardproxy.model import SLOT_COUNT, Address
from shardproxy.model.replication import ShardKey
from shardproxy.model.slots import slots_count, slots_cut, slots_each
from shardproxy.nodes import NodeError, NodeFailure
from shardproxy.reshard.fitness import warnings_of, why_unfit
from shardproxy.reshard.layout import (
    Layout,
    LayoutError,
    Move,
    layout_drained,
    layout_moved,
    layout_rebalanced,
    layout_scaled,
    moves_between,
)
from shardproxy.reshard.parts import Engines
from shardproxy.reshard.sample import Sample, ScanError, sample
from shardproxy.reshard.survey import Survey, survey
from shardproxy.reshard.wants import Drain, Rebalance, Scale, Send, Wants, wants_text
from shardproxy.store.record import ShardRecord
from shardproxy.wire.info import InfoError

MOST_LEGS = 1000  # a note holds 512 KiB
LOOKED_AT = 2_000  # keys of a shard, for an estimate
LOOKED_AT_TO_WEIGH = 50_000  # keys of a shard, where slots are weighed against each other
WEIGHED = 300  # keys of these whose memory is asked for
WEIGHED_TO_WEIGH = 5_000
CPU_OVER = 1.0  # seconds over which the load of shards is compared
KEYS_A_SECOND = 25_000  # copied, beside other clients: measured on two busy cores
BYTES_A_SECOND = 40 << 20
SEALED_WITHIN = 2.0  # seconds


class PlanError(Exception):
    """It cannot be done; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one move."""

    move: Move
    keys: int
    bytes: int
    why_not: str | None
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return 1 + self.keys / KEYS_A_SECOND + self.bytes / BYTES_A_SECOND


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done."""

    asked: str
    estimates: tuple[Estimate, ...]
    labels: Mapping[ShardKey, str] = field(default_factory=dict)

    @property
    def why_not(self) -> str | None:
        return next((one.why_not for one in self.estimates if one.why_not), None)

    @property
    def lines(self) -> list[str]:
        """For people."""
        if not self.estimates:
            return [f"{self.asked}: nothing has to move"]
        lines = [self.asked]
        for one in self.estimates:
            move = one.move
            slots = format_slots(move.slots)
            lines.append(
                f"{self.labels[move.source]} -> {self.labels[move.target]}: {slots_count(move.slots)} slots"
                f" ({slots if len(slots) <= 60 else slots[:57] + '...'}), about {one.keys} keys,"
                f" {one.bytes / (1 << 20):.1f} MiB"
            )
        seconds = sum(one.seconds for one in self.estimates)
        lines.append(f"about {seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:.0f} min")
        lines += dict.fromkeys(f"note: {text}" for one in self.estimates for text in one.warnings)
        lines += dict.fromkeys(f"cannot be done: {one.why_not}" for one in self.estimates if one.why_not)
        return lines

    def write(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "lines": self.lines,
            "why_not": self.why_not,
            "seconds": round(sum(one.seconds for one in self.estimates), 1),
            "keys": sum(one.keys for one in self.estimates),
            "bytes": sum(one.bytes for one in self.estimates),
            "moves": [
                {
                    "from": self.labels[one.move.source],
                    "to": self.labels[one.move.target],
                    "slots": format_slots(one.move.slots),
                    "count": slots_count(one.move.slots),
                    "keys": one.keys,
                    "bytes": one.bytes,
                    "why_not": one.why_not,
                }
                for one in self.estimates
            ],
        }


async def plan_make(desk: SlotDesk, engines: Engines, wants: Wants) -> Plan:
    """Say what would be moved; raise PlanError. Changes nothing."""
    layout, labels = layout_of(desk), labels_of(desk)
    moves = await moves_wanted(desk, engines, wants)
    surveys = {
        key: await _survey(desk, engines, key)
        for key in dict.fromkeys(key for move in moves for key in (move.source, move.target))
    }
    samples = {
        key: await _sample(engines, surveys[key].address, LOOKED_AT, WEIGHED)
        for key in dict.fromkeys(move.source for move in moves)
    }
    comes: dict[ShardKey, int] = {}
    estimates = []
    for move in moves:
        source, target = surveys[move.source], surveys[move.target]
        keys, size = _amount(source, samples[move.source], move, layout)
        comes[move.target] = comes.get(move.target, 0) + size
        why_not = why_unfit(source, target, comes[move.target])
        estimates.append(Estimate(move, keys, size, why_not, tuple(warnings_of(source, target))))
    return Plan(wants_text(wants, labels), tuple(estimates), labels)


async def why_not_now(desk: SlotDesk, engines: Engines, move: Move) -> str | None:
    """Why a move cannot be done now, as was found when it was planned, or as nobody could be told of it."""
    source, target = await _survey(desk, engines, move.source), await _survey(desk, engines, move.target)
    looked = await _sample(engines, source.address, LOOKED_AT, WEIGHED)
    _, size = _amount(source, looked, move, layout_of(desk))
    return why_unfit(source, target, size) or await _why_unsealed(desk, engines, move.source)


async def _why_unsealed(desk: SlotDesk, engines: Engines, key: ShardKey) -> str | None:
    record = desk.records[key]
    try:
        await seals_put(engines.nodes, primary_of(record), None, desk.seals(record), within=SEALED_WITHIN)
    except SealError as error:
        return str(error)
    except (NodeFailure, NodeError) as error:
        raise PlanError(str(error)) from error
    return None


async def moves_wanted(desk: SlotDesk, engines: Engines, wants: Wants) -> tuple[Move, ...]:
    """What has to move from whom to whom; raise PlanError."""
    before = layout_of(desk)
    if len(before) < 2:
        raise PlanError(f"{desk.cluster} has one shard: add another one with `slots: none` to its config")
    try:
        after = await _layout_wanted(desk, engines, wants, before)
    except LayoutError as error:
        raise PlanError(str(error)) from error
    moves = moves_between(before, after)
    if wants.slots_per_step:
        moves = tuple(
            Move(move.source, move.target, part)
            for move in moves
            for part in slots_cut(move.slots, wants.slots_per_step)
        )
    if len(moves) > MOST_LEGS:
        raise PlanError(f"{len(moves)} steps are too many, {MOST_LEGS} at most: move more slots at once")
    return moves


async def _layout_wanted(desk: SlotDesk, engines: Engines, wants: Wants, before: Layout) -> Layout:
    match wants.what:
        case Scale(shards):
            return layout_scaled(before, shards)
        case Drain(shard):
            return layout_drained(before, shard) if before[shard] else before
        case Send(parts):
            after = before
            for slots, shard in parts:
                after = layout_moved(after, slots, shard)
            return after
        case Rebalance(by):
            return layout_rebalanced(before, await _weights(desk, engines, before, by))


def layout_of(desk: SlotDesk) -> Layout:
    """Who has which slots now; raise PlanError where not every shard is on record."""
    records = desk.records
    missing = [key for key in desk.setups if key not in records]
    if missing:
        raise PlanError(f"shard {labels_of(desk)[missing[0]]} has no primary yet: wait until it has")
    return {key: records[key].slots for key in desk.setups}


def labels_of(desk: SlotDesk) -> dict[ShardKey, str]:
    """What people call the shards."""
    return {key: setup.name or str(key.index) for key, setup in desk.setups.items()}


def primary_of(record: ShardRecord) -> Address:
    """Raise PlanError where there is none."""
    if record.primary is None:
        raise PlanError(f"shard {record.name or record.key.index} has no primary now: try again later")
    return record.primary


async def _survey(desk: SlotDesk, engines: Engines, key: ShardKey) -> Survey:
    try:
        return await survey(engines.nodes, primary_of(desk.records[key]))
    except (NodeFailure, NodeError, InfoError) as error:
        raise PlanError(str(error)) from error


async def _sample(engines: Engines, address: Address, keys: int, weighed: int) -> Sample:
    try:
        return await sample(engines.nodes, address, engines.slot_of, keys=keys, weighed=weighed)
    except (NodeFailure, NodeError, ScanError) as error:
        raise PlanError(str(error)) from error


def _amount(source: Survey, looked: Sample, move: Move, layout: Layout) -> tuple[int, int]:
    """Keys and bytes of a move: the share of what was looked at, of what the source says it has."""
    share = looked.share(move.slots, layout[move.source])
    keys = round(source.keys * share)
    return keys, round(max(keys * looked.bytes_each, source.dataset * share if keys else 0))


async def _weights(desk: SlotDesk, engines: Engines, layout: Layout, by: str) -> list[float]:
    """What each slot weighs, as far as a sample can tell."""
    weights = [0.0] * SLOT_COUNT
    owners = [key for key, slots in layout.items() if slots]
    if by == "load":
        for key, load in (await _loads(desk, engines, owners)).items():
            for slot in slots_each(layout[key]):
                weights[slot] = load / slots_count(layout[key])
        return weights
    for key in owners:
        said = await _survey(desk, engines, key)
        looked = await _sample(engines, said.address, LOOKED_AT_TO_WEIGH, WEIGHED_TO_WEIGH)
        found, total = (looked.per_slot, said.keys) if by == "keys" else (looked.bytes_per_slot, said.dataset)
        scale = total / max(1, sum(found.values()))
        for slot, size in found.items():
            weights[slot] = size * scale
    return weights


async def _loads(desk: SlotDesk, engines: Engines, keys: list[ShardKey]) -> dict[ShardKey, float]:
    """CPU seconds of each primary over a moment; all its slots are taken to weigh alike."""
    before = {key: (await _survey(desk, engines, key)).cpu for key in keys}
    await trio.sleep(CPU_OVER)
    return {key: max(0.0, (await _survey(desk, engines, key)).cpu - before[key]) for key in keys}
