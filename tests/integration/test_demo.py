"""The demo, run as a user does, and what is left after it: nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shardproxy.fleet import free_port
from shardproxy.model import Address
from tests.fixtures.clients import redis_cli
from tests.fixtures.proxy import wait_until


class Demo:
    """`shardproxy demo` with its temporary files in a directory of the test."""

    def __init__(self, directory: Path, port: int, args: tuple[str, ...], path: str) -> None:
        self.directory = directory
        self.port = port
        self.output = directory.with_suffix(".out")
        directory.mkdir()
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                (sys.executable, "-m", "shardproxy", "demo", "--port", str(port), *args),
                env={**os.environ, "TMPDIR": str(directory), "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_table(self) -> None:
        wait_until(lambda: "in step" in self.text or self.process.poll() is not None, "a table is shown")
        assert self.process.poll() is None, self.text

    def leftovers(self) -> list[str]:
        """Files in its directory, and processes that run there."""
        found = [str(path) for path in self.directory.iterdir()]
        for entry in Path("/proc").iterdir():
            try:
                if self.directory in (entry / "cwd").readlink().parents:
                    found.append(f"process {entry.name}")
            except OSError:
                continue
        return found


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    demos: list[Demo] = []

    def start(*args: str, port: int | None = None, path: str = os.environ["PATH"]) -> Demo:
        demos.append(Demo(tmp_path / f"demo-{len(demos)}", port or free_port(), args, path))
        return demos[-1]

    yield start
    for demo in demos:
        demo.process.kill()
        demo.process.wait()


def test_the_tour_passes_and_leaves_nothing(start_demo: Callable[..., Demo]) -> None:
    demo = start_demo("--check")
    assert demo.process.wait(60) == 0, demo.text
    assert re.search(r"^\d+ passed, 0 failed", demo.text, re.MULTILINE), demo.text
    assert demo.leftovers() == []


def test_the_tour_of_caching_passes(start_demo: Callable[..., Demo]) -> None:
    demo = start_demo("--engine", "redis", "--caching", "--check", "--shards", "2", "--replicas", "0")
    assert demo.process.wait(60) == 0, demo.text
    assert "100 readers of a key that nobody has: 1 question" in demo.text
    assert demo.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_nothing_is_left(
    start_demo: Callable[..., Demo], number: signal.Signals
) -> None:
    demo = start_demo()
    demo.wait_table()
    assert redis_cli(Address("127.0.0.1", demo.port), "SET", "greeting", "hello") == "OK\n"
    assert len(demo.leftovers()) >= 7  # six engines and their directory
    demo.process.send_signal(number)
    assert demo.process.wait(15) == 0, demo.text
    assert demo.leftovers() == []


def test_a_crash_leaves_nothing(start_demo: Callable[..., Demo]) -> None:
    demo = start_demo()
    demo.wait_table()
    demo.process.kill()
    demo.process.wait()
    wait_until(lambda: not demo.leftovers(), "the guard cleans up")


def test_a_taken_port_is_said_and_a_later_one_used(start_demo: Callable[..., Demo]) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        demo = start_demo("--check", "--shards", "1", "--replicas", "0", port=port)
        assert demo.process.wait(60) == 0, demo.text
    assert f"Port {port} is taken: using " in demo.text


def test_a_missing_engine_is_said_in_one_line(start_demo: Callable[..., Demo], tmp_path: Path) -> None:
    demo = start_demo("--check", path=str(tmp_path))
    assert demo.process.wait(30) == 1
    assert "redis-server" in demo.text
    assert "apt-get install redis-server" in demo.text
    assert "Traceback" not in demo.text


def test_a_reader_that_has_gone_ends_it_and_nothing_is_left(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "shardproxy", "demo", "--check", "--port", str(free_port()))
    with subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        assert demo.stdout.readline()
        demo.stdout.close()
        assert demo.stderr.read() == b""
    assert demo.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_the_tour_of_memcached_passes(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    path = os.environ["PATH"]
    demo = Demo(directory, free_port(), ("--engine", "memcached", "--check"), path)
    assert demo.process.wait(60) == 0, demo.text
    assert "3000 keys read by one get, gathered from all nodes" in demo.text
    assert demo.leftovers() == []
