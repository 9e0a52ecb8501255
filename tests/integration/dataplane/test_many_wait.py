"""Many clients wait, come and go while others push: nothing is lost, nothing is given twice, nobody waits for
what is there, and who came first is served first."""

from __future__ import annotations

import random
import selectors
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from shardproxy.fleet import Fleet
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

Ask = Callable[..., Wire]
KEYS = ["{k}a", "{k}b", "{k}c"]
TURNS = 1500


@dataclass(eq=False)
class Someone:
    client: Wire


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_and_nobody_is_forgotten(
    seed: int, fleet: Fleet, start_proxy: StartProxy, wire: Ask
) -> None:
    dice = random.Random(seed)
    proxy = start_proxy(config_of(fleet, workers=2))
    crowd = Crowd(dice, proxy, wire)
    for _ in range(TURNS):
        crowd.step()
    crowd.end()


class Crowd:
    def __init__(self, dice: random.Random, proxy: Proxy, wire: Ask) -> None:
        self.dice, self.proxy, self.wire = dice, proxy, wire
        self.other = wire(proxy)
        self.selector = selectors.DefaultSelector()
        self.idle: list[Someone] = [Someone(wire(proxy)) for _ in range(30)]
        self.waiting: list[Someone] = []
        for someone in self.idle:
            self.selector.register(someone.client.socket, selectors.EVENT_READ, someone)
        self.pushed = 0
        self.taken: list[bytes] = []
        self.lost = 0  # may have been given to who went

    def step(self) -> None:
        what = self.dice.random()
        if what < 0.4 and self.idle:
            self.wait()
        elif what < 0.8:
            self.push()
        elif what < 0.85 and self.waiting:
            self.leave()
        self.read(0.0)

    def wait(self) -> None:
        someone = self.idle.pop(self.dice.randrange(len(self.idle)))
        keys = self.dice.sample(KEYS, self.dice.choice([1, 1, 2, 3]))
        timeout = self.dice.choice(["0", "0", "0.001", "0.01", "0.05"])
        command = self.dice.choice(["BLPOP", "BRPOP"])
        someone.client.send_command(command, *keys, timeout)
        self.waiting.append(someone)

    def push(self) -> None:
        key, count = self.dice.choice(KEYS), self.dice.choice([1, 1, 1, 2, 5])
        self.other.ask("RPUSH", key, *range(self.pushed, self.pushed + count))
        self.pushed += count

    def leave(self) -> None:
        someone = self.waiting.pop(self.dice.randrange(len(self.waiting)))
        self.selector.unregister(someone.client.socket)
        someone.client.close()
        self.lost += 1
        new = Someone(self.wire(self.proxy))
        self.selector.register(new.client.socket, selectors.EVENT_READ, new)
        self.idle.append(new)

    def read(self, timeout: float) -> bool:
        found = self.selector.select(timeout)
        for key, _ in found:
            someone = key.data
            reply = someone.client.reply()
            if reply is not None:
                self.taken.append(reply[1])
            self.waiting.remove(someone)
            self.idle.append(someone)
        return bool(found)

    def end(self) -> None:
        def left() -> int:
            return sum(self.other.ask("LLEN", key) for key in KEYS)

        while self.read(0.3):
            pass
        # whoever still waits for ever does so since its keys are empty
        while self.waiting:
            assert left() == 0, "somebody waits for what is there"
            self.other.ask("RPUSH", self.dice.choice(KEYS), self.pushed)
            self.pushed += 1
            for key in KEYS:
                self.other.ask("RPUSH", key, self.pushed)
                self.pushed += 1
            wait_until(lambda: self.read(0.05), "somebody is served")
            while self.read(0.2):
                pass
        assert len(set(self.taken)) == len(self.taken), "something was given twice"
        assert self.pushed - len(self.taken) - left() <= self.lost, "something is gone"


def test_who_came_first_is_served_first(start_proxy: StartProxy, fleet: Fleet, wire: Ask) -> None:
    """While pushes come as fast as they may."""
    proxy = start_proxy(config_of(fleet, workers=2))
    other = wire(proxy)

    def waiting() -> int:
        return int(other.ask("CLIENT", "LIST").decode().count(" flags=b "))

    for key in ("jobs:0", "jobs:1", "jobs:2"):
        clients: list[Wire] = []
        for number in range(100):
            clients.append(wire(proxy))
            clients[-1].send_command("BLPOP", key, 0)
            wait_until(lambda: waiting() > number, "it waits")  # noqa: B023
        for number in range(100):
            other.send_command("RPUSH", key, number)
        assert [int(client.reply()[1]) for client in clients] == list(range(100))
        for _ in clients:
            other.reply()
