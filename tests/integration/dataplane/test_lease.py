"""A process that was frozen for longer than its lease acknowledges nothing that it finds when it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from shardproxy.model import Address
from tests.fixtures.clients import TIMEOUT, Wire
from tests.fixtures.fake_engine import FakeEngine
from tests.fixtures.proxy import wait_until

SERVE = """
import json, sys, time
from shardproxy.commands.table import Table
from shardproxy.dataplane import _native
plane = _native.DataPlane(2, Table.load().encode(), 0)
[(_, bound)] = plane.apply(sys.argv[1].encode())
deadline = time.clock_gettime(time.CLOCK_BOOTTIME) + float(sys.argv[2])
plane.lease("main", deadline)
print(json.dumps([bound, deadline]), flush=True)
sys.stdin.read()
plane.stop()
"""


def is_stopped(pid: int) -> bool:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)


@contextmanager
def frozen_with_a_reply(lease: float, frozen: float) -> Iterator[tuple[Wire, FakeEngine]]:
    """A client whose write was answered while its proxy stood still, until that goes on; seconds."""
    answers = threading.Event()
    engine = FakeEngine(lambda number, request: b"+OK\r\n" if answers.wait(TIMEOUT) else b"-ERR late\r\n")
    spec = {
        "name": "main",
        "engine": "redis",
        "epoch": 1,
        "endpoints": [{"kind": "configuration", "addresses": ["127.0.0.1:0"]}],
        "shards": [{"slots": [[0, 16383]], "primary": 0, "nodes": [{"address": str(engine.address)}]}],
    }
    command = (sys.executable, "-c", SERVE, json.dumps(spec), str(lease))
    with ExitStack() as opened:
        proxy = opened.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        try:
            assert proxy.stdout is not None
            bound, deadline = json.loads(proxy.stdout.readline())
            client = opened.enter_context(closing(Wire(Address.parse(bound))))
            client.send_command("SET", "key", "value")
            wait_until(lambda: engine.requests == [[b"SET", b"key", b"value"]], "the engine has the write")
            assert time.clock_gettime(time.CLOCK_BOOTTIME) < deadline, "the machine is too slow for this test"
            os.kill(proxy.pid, signal.SIGSTOP)
            wait_until(lambda: is_stopped(proxy.pid), "all its threads stand still")
            begun = time.monotonic()
            answers.set()
            wait_until(lambda: time.monotonic() > begun + frozen, "it stood still for so long")
            os.kill(proxy.pid, signal.SIGCONT)
            yield client, engine
        finally:
            answers.set()
            proxy.kill()
            engine.close()


def test_a_reply_found_after_the_deadline_is_no_acknowledgement() -> None:
    with frozen_with_a_reply(lease=1.5, frozen=1.6) as (client, engine):
        assert str(client.reply()).startswith(
            "ERR INDOUBT shard 0 primary lost, command may have been executed"
        )
        assert len(engine.requests) == 1, "and it is not repeated"


@pytest.mark.parametrize("frozen", [0.2, 1.0])
def test_within_it_a_freeze_costs_nothing(frozen: float) -> None:
    with frozen_with_a_reply(lease=60, frozen=frozen) as (client, _):
        assert client.reply() == b"OK"
