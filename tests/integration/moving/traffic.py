"""Clients that write without a rest, each in a thread: what a copy has to keep up with."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis as client
from redis.exceptions import RedisError

from shardproxy.fleet import EngineNode

SESSIONS = 200
SCRIPT = "redis.call('INCR', KEYS[1]); redis.call('RPUSH', KEYS[2], ARGV[1]); return 1"


def _once(pipe: client.client.Pipeline, rng: random.Random, n: int) -> None:
    """A batch of commands of all kinds."""
    pick = rng.randrange
    pipe.incr(f"counter:{pick(300)}")
    pipe.rpush(f"list:{pick(50)}", f"id-{n}")
    pipe.hincrbyfloat(f"hash:{pick(50)}", f"f{pick(20)}", 0.5)
    pipe.xadd(f"stream:{pick(20)}", {"n": n}, maxlen=500)
    pipe.zincrby("ranking", 1, f"member-{pick(5000)}")
    pipe.zincrby(f"ranking:{pick(10)}", 1, f"member-{pick(400)}")
    session = f"session:{pick(SESSIONS)}"
    pipe.incr(session)
    pipe.pexpire(session, 1500)
    pipe.set(f"short:{pick(2000)}", n, px=rng.choice((100, 5_000, 3_600_000)))
    pipe.spop(f"bag:{pick(20)}")
    pipe.sadd(f"bag:{pick(20)}", f"m{n}", f"m{n + 1}")
    pipe.append(f"text:{pick(20)}", "0123456789")
    pipe.set(f"gone:{pick(200)}", n)
    pipe.delete(f"gone:{pick(200)}")
    pipe.lpop(f"list:{pick(50)}")
    pipe.eval(SCRIPT, 2, f"scripted:{pick(50)}", f"effects:{pick(50)}", n)
    if n % 50 == 0:
        pipe.rename(f"text:{pick(20)}", f"text:{pick(20)}")


class Traffic:
    """Writers at a primary, which may change."""

    def __init__(self, primary: EngineNode, writers: int = 2) -> None:
        self.primary = primary
        self.written = 0
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(seed,)) for seed in range(writers)]

    def _write(self, seed: int) -> None:
        rng = random.Random(seed)
        for n in itertools.count():
            if self._is_over.is_set():
                return
            address = self.primary.address
            node = client.Redis(address.host, address.port, socket_timeout=2)
            try:
                while not self._is_over.is_set() and address == self.primary.address:
                    pipe = node.pipeline(transaction=n % 5 == 0)
                    _once(pipe, rng, next(self._numbers))
                    pipe.execute(raise_on_error=False)
                    self.written += 1
            except RedisError:
                self._is_over.wait(0.05)
            finally:
                node.close()

    _numbers = itertools.count()

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()


@contextmanager
def writing(primary: EngineNode) -> Iterator[Traffic]:
    traffic = Traffic(primary)
    traffic.start()
    try:
        yield traffic
    finally:
        traffic.stop()
