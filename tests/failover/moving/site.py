"""A cluster with shards that are ready for slots, and what an operator does with it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from hiredis import ReplyError
from redis.crc import key_slot

from shardproxy.config.slots import parse_slots
from shardproxy.fleet import Fleet, RedisNode
from shardproxy.fleet.process import Launch, LocalProcess
from tests.failover.site import Site
from tests.fixtures.proxy import Proxy, config_of, wait_until


@dataclass(frozen=True, slots=True)
class MovingSite(Site):
    """One cluster, `main`, whose last shards own nothing at first."""

    def ask(self, path: str, **body: object) -> dict[str, Any]:
        """POST to the admin API; raise AssertionError with the reason when it is refused."""
        request = urllib.request.Request(
            self.proxy.admin + path,
            data=json.dumps({"cluster": "main", **body}).encode(),
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=45) as response:
                return dict(json.loads(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(json.loads(error.read())["error"]) from None

    def begin(self, **wants: object) -> str:
        """Have slots moved; the job's number."""
        return str(self.ask("/api/jobs/start", kind="reshard", wants=wants)["job"]["id"])

    def job(self, number: str) -> dict[str, Any]:
        jobs = json.loads(self.proxy.get("/api/jobs?cluster=main")[1])["jobs"]
        return next(job for job in jobs if job["id"] == number)

    def is_at(self, number: str, *stages: str) -> bool:
        """Whether the job has come to one of these stages, or is over."""
        job = self.job(number)
        return job["is_over"] or job["progress"]["stage"] in stages

    def has_recorded(self, text: str) -> bool:
        """Whether that stands in the proxy's store now."""
        files = (self.proxy.directory / "state" / "shardproxy").glob("*.json")
        return any(text in file.read_text(errors="replace") for file in files)

    def has_another_primary(self, shard: int, than: RedisNode) -> bool:
        nodes = self.status(shard)["nodes"]
        return any(node["role"] == "primary" and self.node(node["address"]) is not than for node in nodes)

    def wait_over(self, number: str, timeout: float = 60.0, interval: float = 0.05) -> dict[str, Any]:
        """The job once it is over; it is asked for that often."""

        def over() -> dict[str, Any] | None:
            try:
                job = self.job(number)
            except OSError:
                return None  # the proxy is restarting
            return job if job["is_over"] else None

        found: dict[str, Any] = wait_until(
            over, lambda: f"job {number} is over: {self.job(number)}", timeout, interval=interval
        )
        return found

    def move(self, timeout: float = 60.0, interval: float = 0.05, **wants: object) -> dict[str, Any]:
        """Have slots moved, and wait until they are; the result."""
        job = self.wait_over(self.begin(**wants), timeout, interval)
        assert job["state"] == "done", f"{job['state']}: {job['why']}\n{self.proxy.log()[-4000:]}"
        return dict(job["result"])

    def owners(self) -> dict[int, set[int]]:
        """The slots of each shard."""
        shards = json.loads(self.proxy.get("/api/topology")[1])["clusters"]["main"]["shards"]
        return {
            shard["index"]: {
                slot
                for text in shard["slots"]
                for part in parse_slots(text)
                for slot in range(part.first, part.last + 1)
            }
            for shard in shards
        }

    def strays(self) -> list[str]:
        """Keys that are at a node whose shard does not own their slot."""
        found = []
        for number, slots in self.owners().items():
            for node in (self.primary(number), *self.replicas(number)):
                keys = wait_until(partial(_keys_of, node), f"{node} has loaded", timeout=60.0)
                found += [
                    f"{key!r} at {node} of shard {number}"
                    for key in keys
                    if key and key_slot(key) not in slots
                ]
        return found


@contextmanager
def open_moving(
    shards: int = 3, empty: int = 1, replicas: int = 1, *, launch: Launch = LocalProcess, **options: Any
) -> Iterator[MovingSite]:
    """Shards of which the last ones are empty and ready."""
    with Fleet(shards, replicas, managed=True, launch=launch) as fleet:
        config = config_of(fleet, replication="managed", **options)
        for shard in config["clusters"]["main"]["shards"][shards - empty :]:
            shard["slots"] = "none"
        proxy = Proxy(config)
        try:
            site = MovingSite(fleet, proxy)
            for shard in range(shards):
                site.wait_whole(shard)
            yield site
        finally:
            proxy.stop()


def _keys_of(node: RedisNode) -> list[bytes] | None:
    """None while it loads what it kept on disk, as one that was killed does."""
    try:
        return [*node.ask("KEYS", "*", timeout=60.0), b""]
    except ReplyError as error:
        if not str(error).startswith("LOADING"):
            raise
        return None
