"""A copier in a process of its own, to be stopped: source, target, term, seconds of lease (0: none)."""

from __future__ import annotations

import sys
import time

import trio

from shardproxy.model import Address, SlotRange
from shardproxy.replication.copier import EngineCopier
from shardproxy.replication.interface import Claim, CopyPlan, End, Target


async def main(*args: str) -> None:
    source, target, term, lease = args
    ends = [End(Address.parse(text)) for text in (source, target)]
    until = time.clock_gettime(time.CLOCK_BOOTTIME) + float(lease) if float(lease) else None
    slots = (SlotRange(0, 16383),)
    plan = CopyPlan((ends[0],), (Target(slots, ends[1]),), claim=Claim("main", int(term), 1), until=until)
    copier = EngineCopier.start(plan)
    while True:
        status = copier.status
        print(status.phase.value, status.keys, status.fault.value if status.fault else "-", flush=True)
        await trio.sleep(0.02)


trio.run(main, *sys.argv[1:])
