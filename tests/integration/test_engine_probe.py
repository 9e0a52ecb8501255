"""The probe and the command of deploy/kubernetes' engines, run here: ready is who has the data."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from ruamel.yaml import YAML

from shardproxy.fleet import free_port
from tests.fixtures.proxy import wait_until

ENGINE = Path(__file__).parents[2] / "deploy/kubernetes/base/engine.yaml"
PASSWORD = 'it\'s "$HOME" `id`'  # that a shell would take apart
WITHIN = 30.0  # seconds, on a busy machine

StartEngine = Callable[[], int]


def container() -> dict[str, Any]:
    pod = YAML(typ="safe").load(ENGINE.read_text())["spec"]["template"]["spec"]
    (found,) = pod["containers"]
    return dict(found)


def environment(path: str = os.environ["PATH"]) -> dict[str, str]:
    return {"PASSWORD": PASSWORD, "PATH": path}


def is_ready(port: int = 6379, path: str = os.environ["PATH"]) -> bool:
    command = container()["readinessProbe"]["exec"]["command"]
    words = [word.replace("-p 6379", f"-p {port}") for word in command]
    return subprocess.run(words, env=environment(path), capture_output=True, check=False).returncode == 0


def client(port: int) -> redis.Redis:
    return redis.Redis(port=port, password=PASSWORD)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartEngine]:
    running: list[subprocess.Popen[bytes]] = []

    def started() -> int:
        port, directory = free_port(), tmp_path / str(len(running))
        directory.mkdir()
        script = container()["args"][0].replace("--port 6379", f"--port {port} --bind 127.0.0.1")
        words = [*container()["command"], script.replace("/data", str(directory))]
        running.append(subprocess.Popen(words, env=environment(), cwd=directory, stdout=subprocess.DEVNULL))

        def answers() -> bool:
            try:
                return bool(client(port).ping())
            except redis.ConnectionError:
                return False

        wait_until(answers, "the engine answers", timeout=WITHIN)
        return port

    yield started
    for one in running:
        one.kill()
        one.wait()


def test_who_has_the_data_is_ready(start: StartEngine) -> None:
    first, second = start(), start()
    assert not is_ready(first)  # replicas of nobody: the proxy promotes one
    assert not is_ready(second)
    client(first).replicaof("NO", "ONE")
    assert is_ready(first)
    client(first).config_set("repl-diskless-sync-delay", 0)
    client(second).replicaof("127.0.0.1", str(first))
    wait_until(lambda: is_ready(second), "the replica has the data", timeout=WITHIN)
    client(first).shutdown(nosave=True)
    wait_until(lambda: not is_ready(second), "its link is down", timeout=WITHIN)
    assert not is_ready(first)


@pytest.mark.parametrize(
    ("said", "ready"),
    [
        ("loading:0 role:master", True),
        ("loading:1 role:master", False),
        ("loading:0 role:slave master_link_status:up", True),
        ("loading:0 role:slave master_link_status:down", False),
        ("NOAUTH Authentication required.", False),
        ("", False),
    ],
)
def test_what_an_engine_says_of_itself_counts(tmp_path: Path, said: str, ready: bool) -> None:
    program = tmp_path / "redis-cli"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    assert is_ready(path=f"{tmp_path}:{os.environ['PATH']}") is ready
