"""What the clients of these tests call a loss: nothing else than what was lost."""

from __future__ import annotations

import random
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tests.failover.moving import workload
from tests.failover.moving.workload import SLIDING, Writer

KEY = "session:w:0"


class Engine:
    """Has one clock with its client, ends keys in time, and answers a use some seconds after it was done."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.answers_after = 0.0
        self.keys: dict[str, tuple[int, int]] = {}  # uses, and when it ends in milliseconds

    def pipeline(self, transaction: bool) -> Engine:
        assert transaction
        return self

    def incr(self, key: str) -> None:
        self.key = key

    def pexpire(self, key: str, lasts: int) -> None:
        now = int(self.now * 1000)
        count, ends = self.keys.get(key, (0, 0))
        self.keys[key] = (count + 1 if now < ends else 1, now + lasts)

    def pexpiretime(self, key: str) -> None:
        """Asked for in `execute`."""

    def execute(self) -> list[Any]:
        self.now += self.answers_after
        count, ends = self.keys[self.key]
        return [count, True, ends]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    clock = SimpleNamespace(monotonic=lambda: made.now, time=lambda: made.now)
    monkeypatch.setattr(workload, "time", clock)
    monkeypatch.setattr(workload, "KEYS", 1)
    return made


@pytest.fixture
def writer(engine: Engine) -> Writer:
    made = Writer("w", lambda: None, threading.Event(), random.Random(1))  # type: ignore[arg-type, return-value]
    made.client = engine  # type: ignore[assignment]
    made.renew()
    return made


def test_a_session_that_ended_while_a_reply_waited_for_replicas_is_no_loss(
    engine: Engine, writer: Writer
) -> None:
    engine.now += 0.3
    engine.answers_after = 1.2
    writer.renew()
    engine.answers_after = 0.0
    engine.now += 0.7
    writer.renew()
    assert engine.keys[KEY][0] == 1
    assert writer.faults == []


def test_a_session_that_is_gone_before_its_end_is_a_loss(engine: Engine, writer: Writer) -> None:
    engine.now += SLIDING / 1000 - 0.01
    del engine.keys[KEY]
    writer.renew()
    assert writer.faults == [f"{engine.now:.3f} {KEY}: 1 and not 2"]
