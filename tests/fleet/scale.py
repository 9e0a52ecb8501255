"""How many proxies one store bears, and how soon all of them follow a change.

    python -m tests.fleet.scale --proxies 50         real ones: three members, the rest followers
    python -m tests.fleet.scale --followers 1000     only what a follower asks of the store, in this Python
    python -m tests.fleet.scale --watches 1000       bare watches, whose bytes are only received

The first counts from the record's put, as a watch of our own hears of it, to each proxy's word that it
serves it; the others from before the put, to each follower's board or to the first byte. A thousand
followers in Python are more than two cores bear: bare watches tell what etcd does. All run on one machine,
with all three members of etcd.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import resource
import selectors
import socket
import ssl
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import structlog
import trio

from shardproxy.config.store import EtcdStore as EtcdSettings
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.store.etcd import EtcdStore
from shardproxy.store.etcd.access import Access
from shardproxy.store.record import ShardRecord, ShardState
from tests.fixtures.etcd import Etcd
from tests.fixtures.proxy import wait_until
from tests.fleet.recorded import Seen, encode
from tests.fleet.rounds import quantile
from tests.fleet.site import Proxies, open_proxies

MEMBERS = 3
QUIET = 10.0  # seconds without a change, in which requests and processor time are counted
PAUSE = 1.0  # seconds between changes
FILES = 20_000  # descriptors
PROCESSES = 2  # that followers are spread over
TICK = os.sysconf("SC_CLK_TCK")
KEY = ShardKey("main", 0)
WATCHED, VALUE = encode("/watched"), encode("x" * 700)  # a record of three nodes has as much
RECEIVED_WITHIN = 60.0  # seconds


def asked(etcd: Etcd) -> float:
    """All calls that the members of etcd have had; a watch is one, however much it tells."""
    total = 0.0
    for member in etcd.members:
        with urllib.request.urlopen(f"{member.client}/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("grpc_server_started_total"):
                    total += float(line.rsplit(" ", 1)[1])
    return total


def processor(pids: Sequence[int]) -> float:
    """Seconds that they have computed."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split() for pid in pids]
    return sum((int(of[11]) + int(of[12])) / TICK for of in fields)


def memory(pids: Sequence[int]) -> float:
    """MiB that are each one's own, shared ones counted by their part; the mean."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024 / len(pids)


def times(values: Sequence[float]) -> str:
    p50, p99 = quantile(values, 0.5) * 1000, quantile(values, 0.99) * 1000
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {max(values) * 1000:.0f} ms"


def measure_quiet(etcd: Etcd, pids: Sequence[int], count: int, what: str) -> None:
    members = [member.pid for member in etcd.members]
    requests, began = asked(etcd), time.monotonic()
    of_etcd, of_all = processor(members), processor(pids)
    time.sleep(QUIET)
    lasted = time.monotonic() - began
    each = (asked(etcd) - requests) / lasted / count
    print(
        f"{QUIET:.0f} s without a change: {each:.2f} requests a second and {what}; etcd uses"
        f" {(processor(members) - of_etcd) / lasted:.2f} cores and {memory(members):.0f} MiB a member;"
        f" the {count} use {(processor(pids) - of_all) / lasted:.2f} cores;"
        f" load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
        flush=True,
    )


def measure_proxies(count: int, changes: int) -> None:
    began = time.monotonic()
    with open_proxies(count, followers=count - MEMBERS) as site:
        assert site.etcd is not None
        assert site.recorded is not None
        pids = [proxy.pid for proxy in site.proxies]
        print(f"{count} proxies stand after {time.monotonic() - began:.0f} s, {memory(pids):.0f} MiB each")
        measure_quiet(site.etcd, pids, count, "proxy")
        seen = Seen(site.recorded)
        for _ in range(changes):
            site.switch_over()
            wait_until(lambda: site.is_whole(), "all follow", timeout=30.0, interval=0.5)
            time.sleep(PAUSE)
        late = delays(site, seen)
    print(f"{changes} switchovers, {len(late)} changes followed, from the put: {times(late)}", flush=True)


def delays(site: Proxies, seen: Seen) -> list[float]:
    """Of each settled record and each proxy: from its put until it is served."""
    served: dict[tuple[str, int], float] = {}
    for one in site.history().served:
        if one.state == ShardState.OK.value:
            served.setdefault((one.proxy, one.epoch), one.at)
    late = []
    first: dict[int, float] = {}
    for at, put in seen.puts:
        if put.record is not None and put.record.state is ShardState.OK:
            first.setdefault(put.record.epoch, at)
    for epoch, at in first.items():
        for number in range(len(site.proxies)):
            if (moment := served.get((f"p{number}", epoch))) is not None:
                late.append(max(0.0, moment - at))
            elif epoch > min(first):
                raise AssertionError(f"p{number} never served epoch {epoch}")
    return late


# Followers alone


def measure_followers(count: int, changes: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    with Etcd(MEMBERS) as etcd:
        trio.run(lead, etcd.settings(), etcd, count, changes)


async def lead(settings: EtcdSettings, etcd: Etcd, count: int, changes: int) -> None:
    """Followers come when somebody leads: a store that is silent is asked about."""
    node = Address("127.0.0.1", 1)
    async with trio.open_nursery() as nursery:
        store = EtcdStore(settings, member="leader")
        await nursery.start(store.run)
        await store.follow([KEY.cluster])
        leadership = await store.claim(KEY.cluster)
        followers = Followers(settings, count)
        await trio.to_thread.run_sync(followers.wait_ready)
        await trio.to_thread.run_sync(measure_quiet, etcd, followers.pids, count, "follower")
        record = ShardRecord(KEY, 1, ShardState.OK, node, nodes=(node,))
        for number in range(changes):
            # the time of the put travels in a field that nobody here reads
            timed = replace(record, epoch=number + 1, floor=int(time.monotonic() * 1e6))
            record = await store.put(timed, leadership)
            await trio.sleep(PAUSE)
        late = await trio.to_thread.run_sync(followers.stop)
        nursery.cancel_scope.cancel()
    passed = count * changes - len(late)  # a board shows the latest
    print(f"{changes} puts to {count} followers, {passed} overtaken by the next: {times(late)}", flush=True)


class Followers:
    """Processes of many followers each."""

    def __init__(self, settings: EtcdSettings, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._ends, self._workers = [], []
        self._count = count
        for number in range(PROCESSES):
            ours, theirs = context.Pipe()
            arguments = (theirs, settings.model_dump(mode="json"), number, count // PROCESSES)
            worker = context.Process(target=follow, args=arguments, daemon=True)
            worker.start()
            self._ends.append(ours)
            self._workers.append(worker)

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def wait_ready(self) -> None:
        began = time.monotonic()
        for end in self._ends:
            assert end.recv() == "ready"
        print(f"{self._count} followers have read all after {time.monotonic() - began:.1f} s", flush=True)

    def stop(self) -> list[float]:
        """How late each was with each change."""
        for end in self._ends:
            end.send("stop")
        late = [delay for end in self._ends for delay in end.recv()]
        for worker in self._workers:
            worker.join()
        return late


def hush() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def follow(end: Connection, values: dict[str, object], process: int, count: int) -> None:
    """A process of followers."""
    hush()
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    shared = ssl.create_default_context()
    Access.context = lambda self: shared  # type: ignore[method-assign]  # reading authorities is not measured
    trio.run(follow_all, end, EtcdSettings.model_validate(values), process, count)


async def follow_all(end: Connection, settings: EtcdSettings, process: int, count: int) -> None:
    late: list[float] = []

    async def follow_one(number: int, *, task_status: trio.TaskStatus[None]) -> None:
        store = EtcdStore(settings, member=f"f{process}-{number}", is_follower=True)
        async with trio.open_nursery() as own:
            await own.start(store.run)
            await store.follow([KEY.cluster])
            task_status.started()
            seen = store.records.version
            while True:
                seen = await store.records.wait_changed(seen)
                late.append(time.monotonic() - store.records[KEY].floor / 1e6)

    async with trio.open_nursery() as nursery:
        for number in range(count):
            await nursery.start(follow_one, number)
        end.send("ready")
        await trio.to_thread.run_sync(end.recv)
        nursery.cancel_scope.cancel()
    end.send(late)


# Watches alone


def measure_watches(count: int, changes: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    with Etcd(MEMBERS) as etcd, selectors.EpollSelector() as ready, ExitStack() as stack:
        for number in range(count):
            watch = stack.enter_context(watch_open(etcd.endpoints[number % MEMBERS]))
            ready.register(watch, selectors.EVENT_READ)
        received(ready, count, time.monotonic())  # that it is created
        members = [member.pid for member in etcd.members]
        late, of_etcd, began = [], processor(members), time.monotonic()
        for _ in range(changes):
            put = time.monotonic()
            call(etcd.endpoints[0], "/v3/kv/put", {"key": WATCHED, "value": VALUE})
            late += received(ready, count, put)
        lasted, used = time.monotonic() - began, processor(members) - of_etcd
        each = used / changes / count * 1e6
        print(
            f"{changes} puts to {count} watches: {times(late)}; etcd used {each:.0f} us of a core for each"
            f" watch and put in {lasted:.1f} s, and has {memory(members):.0f} MiB a member;"
            f" load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
            flush=True,
        )


def watch_open(endpoint: str) -> socket.socket:
    host, _, port = endpoint.removeprefix("http://").partition(":")
    sock = socket.create_connection((host, int(port)), 30)
    body = json.dumps({"create_request": {"key": WATCHED}}).encode()
    head = f"POST /v3/watch HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    sock.sendall(head.encode() + body)
    return sock


def received(ready: selectors.BaseSelector, count: int, since: float) -> list[float]:
    """Seconds from that moment until each has received something."""
    found: dict[int, float] = {}
    while len(found) < count:
        events = ready.select(RECEIVED_WITHIN)
        assert events, f"{count - len(found)} watches have received nothing within {RECEIVED_WITHIN:g} s"
        for key, _ in events:
            found.setdefault(key.fd, time.monotonic() - since)
            data = key.fileobj.recv(65536)  # type: ignore[union-attr]  # a socket
            assert data, "a watch was closed"
    return list(found.values())


def call(endpoint: str, path: str, body: object) -> None:
    request = urllib.request.Request(endpoint + path, data=json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--proxies", type=int, default=0)
    parser.add_argument("--followers", type=int, default=0)
    parser.add_argument("--watches", type=int, default=0)
    parser.add_argument("--changes", type=int, default=10)
    chosen = parser.parse_args()
    hush()
    if chosen.proxies:
        measure_proxies(chosen.proxies, chosen.changes)
    if chosen.followers:
        measure_followers(chosen.followers, chosen.changes)
    if chosen.watches:
        measure_watches(chosen.watches, chosen.changes)


if __name__ == "__main__":
    main()
