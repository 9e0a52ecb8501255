"""A fleet as large as one gets: a tenth of its primaries die at once."""

from __future__ import annotations

import json
import time
from typing import Any

import redis

from tests.failover.site import OpenSite, Site
from tests.fixtures.proxy import wait_until

SHARDS = 250  # the most a cluster has
DYING = 25
PATIENCE = 30.0  # seconds; on a machine that is not busy it takes less than 5


def shards_of(site: Site) -> list[dict[str, Any]]:
    status = json.loads(site.proxy.get("/api/status")[1])
    return list(status["clusters"]["main"]["shards"])


def are_whole(shards: list[dict[str, Any]]) -> bool:
    return all(
        shard["state"] == "ok"
        and shard["is_covered"]
        and all(node["state"] == "up" for node in shard["nodes"])
        for shard in shards
    )


def wait_whole(site: Site, what: str) -> None:
    """Ask seldom: to tell how 500 nodes are takes the proxy a tenth of a second, while it has most to do."""

    def is_whole() -> bool:
        try:
            return are_whole(shards_of(site))
        except TimeoutError:
            return False  # while 500 processes start beside

    wait_until(is_whole, what, timeout=300.0, interval=2.0)


def keys_by_shard(site: Site) -> dict[int, str]:
    """A key of each shard: slots are split evenly."""
    found: dict[int, str] = {}
    number = 0
    with redis.Redis(site.proxy.host, site.proxy.port) as client:
        while len(found) < SHARDS:
            key = f"key:{number}"
            slot = int(client.execute_command("CLUSTER", "KEYSLOT", key))
            found.setdefault(next(i for i in range(SHARDS) if slot < (i + 1) * 16384 // SHARDS), key)
            number += 1
    return found


def is_written(client: redis.Redis, key: str) -> bool:
    """False when the write was under way as its primary died, or could not wait any longer."""
    try:
        return bool(client.set(key, "after"))
    except redis.exceptions.TryAgainError:
        return False
    except redis.ResponseError as error:
        if "INDOUBT" not in str(error):
            raise
        return False


def test_a_tenth_of_250_primaries_die_at_once(site_with: OpenSite) -> None:
    site = site_with(SHARDS, 1, is_waiting=False)
    wait_whole(site, "250 shards have their first primaries")
    keys = keys_by_shard(site)
    with redis.Redis(site.proxy.host, site.proxy.port, socket_timeout=15) as client:
        for key in keys.values():
            assert client.set(key, "before")
        dying = list(range(0, SHARDS, SHARDS // DYING))
        primaries = [site.primary(shard) for shard in dying]
        died = time.monotonic()
        for node in primaries:
            node.kill()
        waiting = set(dying)
        while waiting and time.monotonic() - died < PATIENCE:
            for shard in sorted(waiting):
                if is_written(client, keys[shard]):
                    waiting.discard(shard)
        print(f"all writable after {time.monotonic() - died:.1f} s")
        assert not waiting
        others = [key for shard, key in keys.items() if shard not in dying]
        assert client.mget(others) == [b"before"] * len(others)
    wait_until(lambda: site.count("FailoverComplete") >= DYING, "each failover is told of")
    assert site.count("FailoverComplete") == DYING
    for node in primaries:
        node.start()
    wait_whole(site, "the old primaries are replicas")
