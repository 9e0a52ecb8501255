"""What the tests of backups do: command lines, load, and stock engines that load what was written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shardproxy.fleet import GuardedDirectory, free_port
from tests.fixtures.proxy import Proxy, wait_until

ENDS_WITHIN = 120.0  # seconds, on a busy machine


def cli(*words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command line to its end."""
    return subprocess.run(
        (sys.executable, "-m", "shardproxy", *words),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN,
        env={**os.environ, **(env or {})},
    )


def admin(proxy: Proxy) -> tuple[str, str]:
    return "--admin", proxy.config["admin"]


def create(proxy: Proxy, name: str, *more: str) -> str:
    """Make a backup of `main`; return what was printed."""
    done = cli("backup", "create", "main", "--name", name, *more, *admin(proxy))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{proxy.log()}"
    return done.stdout


def client_of(proxy: Proxy) -> redis.Redis:
    return redis.Redis(
        proxy.host, proxy.port, socket_timeout=20.0, retry=Retry(NoBackoff(), 0), decode_responses=True
    )


class Pairs:
    """Threads that write a cause, and once that is acknowledged its effect, mostly on another shard."""

    def __init__(self, proxy: Proxy, other: Proxy | None = None, threads: int = 4) -> None:
        """Effects are written through the other proxy, where there is one."""
        self._proxy, self._other = proxy, other or proxy
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(threads)]
        self.written = 0
        self.errors: list[str] = []

    def __enter__(self) -> Pairs:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.written > 50, "pairs are written")
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _work(self, thread: int) -> None:
        number = 0
        with client_of(self._proxy) as causing, client_of(self._other) as effecting:
            while not self._ends.is_set():
                try:
                    causing.set(f"cause:{thread}:{number}", "x")
                    effecting.set(f"effect:{thread}:{number}", "x")
                except redis.RedisError as e:
                    self.errors.append(repr(e))
                number += 1
                self.written += 1


def effects_without_cause(keys: set[str]) -> set[str]:
    return {
        key for key in keys if key.startswith("effect:") and key.replace("effect", "cause", 1) not in keys
    }


@contextmanager
def stock_engine(rdb: Path) -> Iterator[redis.Redis]:
    """A redis-server of its own that has loaded this file."""
    program = shutil.which("redis-server")
    assert program is not None
    with GuardedDirectory("shardproxy-stock-") as guarded:
        shutil.copy(rdb, guarded.path / "dump.rdb")
        port = free_port()
        with (guarded.path / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, "--port", str(port), "--save", "", "--enable-debug-command", "local"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=guarded.path,
            )
        try:
            with redis.Redis("127.0.0.1", port) as client:

                def is_ready() -> Any:
                    try:
                        return client.info("persistence")["loading"] == 0
                    except redis.ConnectionError:
                        return False

                wait_until(is_ready, lambda: (guarded.path / "log").read_text(errors="replace"), 30.0)
                yield client
        finally:
            process.kill()
            process.wait()


def keys_loaded(files: list[Path]) -> set[str]:
    """The keys of all of these, as stock engines have them."""
    found: set[str] = set()
    for file in files:
        with stock_engine(file) as client:
            keys = {str(key, "utf-8") for key in client.keys("*") if isinstance(key, bytes)}
            assert len(keys) == client.dbsize()
            assert not found & keys
            found |= keys
    return found


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[None]:
    """A file system of so many bytes at that place; raise OSError where that is not allowed."""
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise OSError(done.stderr)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
