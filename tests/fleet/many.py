"""A fleet as large as one gets, before three proxies: a tenth of its primaries die at once."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import redis

from tests.failover.load import Way, kind_of, tag_of
from tests.failover.network import Places
from tests.fleet.history import why_wrong
from tests.fleet.modes import Mode
from tests.fleet.rounds import Row, is_busy
from tests.fleet.site import Proxies, open_proxies, wait_settled

NAME = "25 of 250 primaries killed"
SHARDS, DYING = 250, 25
READY_WITHIN = 300.0  # seconds
PATIENCE = 60.0  # seconds until all must be writable again


def measure_many(mode: Mode, places: Places | None, rounds: int) -> Row:
    """Writable: when each of them has taken a write, through one proxy or another, since they died."""
    row = Row(mode.name, NAME, date=f"{datetime.now(UTC):%Y-%m-%d %H:%M}", is_busy=is_busy())
    members = 3 if mode.proxies > 1 else 0
    with open_proxies(
        mode.proxies, SHARDS, 1, members=members, places=places, whole_within=READY_WITHIN, **mode.options
    ) as site:
        for number in range(rounds):
            dying = list(range(number, SHARDS, SHARDS // DYING))[:DYING]
            kill_and_write(site, dying, row)
        row.wrong += why_wrong(site.history(), site.ports())
    return row


def kill_and_write(site: Proxies, dying: list[int], row: Row) -> None:
    tags = {shard: tag_of(shard, SHARDS) for shard in dying}
    written = dict.fromkeys(dying, "")
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(way)) for way in site.ways()]
        shards = site.status()["clusters"]["main"]["shards"]  # once: it takes long
        roles = [(node["address"], node["role"]) for shard in dying for node in shards[shard]["nodes"]]
        nodes = [site.node(address) for address, role in roles if role == "primary"]
        began = time.monotonic()
        for node in nodes:
            node.kill()
        waiting, turn = set(dying), 0
        while waiting and time.monotonic() - began < PATIENCE:
            for shard in sorted(waiting):
                turn += 1
                value = f"{turn}"
                row.attempted += 1
                try:
                    clients[turn % len(clients)].set(f"{{{tags[shard]}}}:many", value)
                except redis.RedisError as error:
                    kind = kind_of(error)
                    row.errors[f"write {kind}"] += 1
                    row.in_doubt += kind != "TRYAGAIN"
                else:
                    row.acknowledged += 1
                    written[shard] = value
                    waiting.discard(shard)
        row.writable.append(time.monotonic() - began)
        row.rounds += 1
        row.wrong += [f"shard {shard} takes no writes" for shard in sorted(waiting)]
        for node in nodes:
            node.start()
        wait_settled(site.proxies, READY_WITHIN)
        found = {shard: clients[0].get(f"{{{tags[shard]}}}:many") for shard in dying}
    lost = [shard for shard in dying if written[shard] and (found[shard] or b"").decode() != written[shard]]
    row.lost += len(lost)
    row.lossy_rounds += bool(lost)


def connected(way: Way) -> Any:
    return way.connect()
