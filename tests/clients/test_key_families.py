"""Task queues on shards: what fails without a rule for their keys works with one."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import rq
from celery import chain, chord, group

from shardproxy.fleet import Fleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, executable, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def served(fleet: Fleet, start_proxy: StartProxy) -> Callable[[Any], Proxy]:
    return lambda families: start_proxy(config_of(fleet, key_families=families))


def url_of(proxy: Proxy) -> str:
    return f"redis://{proxy.host}:{proxy.port}"


def worker(proxy: Proxy, log: Path, *argv: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    env = {**os.environ, "JOBS_REDIS_URL": url_of(proxy), "PYTHONPATH": path}
    with log.open("wb") as output:
        return subprocess.Popen(argv, cwd=log.parent, env=env, stdout=output, stderr=subprocess.STDOUT)


@contextmanager
def running(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- the proxy's own view ---


def test_keys_of_a_family_are_in_one_slot_and_cluster_keyslot_agrees(
    served: Callable[[Any], Proxy], redis_client: Callable[..., redis.Redis]
) -> None:
    client = redis_client(served([{"match": "bull:{queue}:*", "hash": "{queue}"}, "rq"]))
    plain = redis_client(served([]))
    assert client.cluster("KEYSLOT", "bull:mail:wait") == plain.cluster("KEYSLOT", "{mail}")
    assert client.cluster("KEYSLOT", "rq:job:{1}") == plain.cluster("KEYSLOT", "rq")
    assert client.cluster("KEYSLOT", "other:{1}") == plain.cluster("KEYSLOT", "1")
    with pytest.raises(redis.ResponseError, match="don't hash to the same slot"):
        plain.eval("return 1", 2, "bull:mail:wait", "bull:mail:active")
    for queue in (f"queue-{n}" for n in range(20)):
        keys = [f"bull:{queue}:{part}" for part in ("wait", "active", "meta", "")]
        script = "for i = 1, 4 do redis.call('set', KEYS[i], i) end return redis.call('mget', unpack(KEYS))"
        assert client.eval(script, 4, *keys) == [b"1", b"2", b"3", b"4"]
        with client.pipeline(transaction=True) as pipe:
            pipe.watch(keys[0])
            pipe.multi()
            for key in keys:
                pipe.incr(key)
            assert pipe.execute() == [2, 3, 4, 5]
        assert client.sintercard(2, [f"rq:a:{queue}", "rq:b"]) == 0


def test_families_change_with_a_reload(
    fleet: Fleet, start_proxy: StartProxy, redis_client: Callable[..., redis.Redis]
) -> None:
    proxy = start_proxy(config_of(fleet))
    client = redis_client(proxy)
    before = client.cluster("KEYSLOT", "rq:job:1")
    proxy.reload(config_of(fleet, key_families=["rq"]))
    wait_until(lambda: client.cluster("KEYSLOT", "rq:job:1") != before, "the family is known")
    assert client.sinter(["rq:a", "rq:b", "rq:c"]) == set()


# --- the scripts and transactions of libraries that are not run here, by their keys ---

SIDEKIQ_PROCESS = "web-1.example:4711:0123456789ab"
TOUCHED_TOGETHER = {
    "sidekiq": [
        ["processes", SIDEKIQ_PROCESS, f"{SIDEKIQ_PROCESS}:work", f"{SIDEKIQ_PROCESS}-signals"],
        ["queue:default", "queue:mail", "queues"],
        ["stat:processed", "stat:failed", "stat:processed:2026-11-23"],
    ],
    "bullmq": [
        [f"bull:mail:{part}" for part in ("", "wait", "active", "id", "meta", "events", "de:1", "17:lock")],
    ],
    "celery": [
        ["unacked", "unacked_index", "celery", "celery\x06\x163", "celery\x06\x169"],
        ["_kombu.binding.celery", "_kombu.binding_permanent.celery", "_kombu.binding_deadlines"],
        ["1b2.reply.celery.pidbox", "1b2.reply.celery.pidbox\x06\x166", "celery", "unacked"],
        [f"celery-taskset-meta-a.b-1{part}" for part in ("", ".j", ".t", ".s", ".d", ".c")],
    ],
    "rq": [["rq:queues", "rq:queue:default", "rq:job:1", "rq:wip:default", "rq:workers", "rq:worker:w"]],
}


@pytest.mark.parametrize("preset", TOUCHED_TOGETHER)
def test_a_preset_knows_the_keys_of_its_library(
    preset: str, served: Callable[[Any], Proxy], redis_client: Callable[..., redis.Redis]
) -> None:
    client = redis_client(served([preset]))
    for keys in TOUCHED_TOGETHER[preset]:
        slots = {client.cluster("KEYSLOT", key) for key in keys}
        assert len(slots) == 1, keys
    mine = {client.cluster("KEYSLOT", f"mine:{n}") for n in range(20)}
    assert len(mine) == 20


def test_what_need_not_share_a_slot_is_spread(
    served: Callable[[Any], Proxy], redis_client: Callable[..., redis.Redis]
) -> None:
    client = redis_client(served(["bullmq", "celery"]))
    one = redis_client(served([{"preset": "bullmq", "hash": "bull"}]))
    for keys in (
        [f"bull:queue-{n}:wait" for n in range(20)],
        [f"celery-task-meta-{n}" for n in range(20)],
        [f"celery-taskset-meta-{n}" for n in range(20)],
    ):
        assert len({client.cluster("KEYSLOT", key) for key in keys}) == 20
    assert len({one.cluster("KEYSLOT", f"bull:queue-{n}:wait") for n in range(20)}) == 1


# --- rq ---


def enqueue(client: redis.Redis) -> list[Any]:
    mail, slow = (rq.Queue(name, connection=client) for name in ("mail", "slow"))
    jobs = [queue.enqueue("tests.clients.jobs.add", n, 1) for n in range(5) for queue in (mail, slow)]
    jobs.append(mail.enqueue("tests.clients.jobs.add", 40, 2, depends_on=jobs))
    jobs.append(slow.enqueue("tests.clients.jobs.fail"))
    return jobs


def test_rq_needs_its_family(
    served: Callable[[Any], Proxy], redis_client: Callable[..., redis.Redis]
) -> None:
    with pytest.raises(redis.ResponseError, match="don't hash to the same slot"):
        enqueue(redis_client(served([])))


def test_rq_works_off_its_queues(
    served: Callable[[Any], Proxy], redis_client: Callable[..., redis.Redis], tmp_path: Path, fleet: Fleet
) -> None:
    proxy = served(["rq"])
    client = redis_client(proxy)
    jobs = enqueue(client)
    log = tmp_path / "worker.log"
    argv = (str(executable("rq")), "worker", "--burst", "--url", url_of(proxy), "slow", "mail")
    with running(worker(proxy, log, *argv)) as process:
        assert process.wait(60) == 0, log.read_text()
    text = log.read_text()
    assert "CROSSSLOT" not in text
    assert [job.return_value(refresh=True) for job in jobs[:10]] == [n + 1 for n in range(5) for _ in "ab"]
    assert jobs[10].return_value(refresh=True) == 42
    assert jobs[11].get_status(refresh=True).value == "failed"
    failed = rq.registry.FailedJobRegistry("slow", connection=client)
    assert failed.get_job_ids() == [jobs[11].id]
    keys = {key: shard.index for shard in fleet.shards for key in shard.primary.ask("KEYS", "*")}  # type: ignore[attr-defined]
    assert len(keys) > 20
    assert len(set(keys.values())) == 1


# --- celery ---


@pytest.fixture
def celery_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Proxy], Any]]:
    opened = []

    def connect(proxy: Proxy) -> Any:
        monkeypatch.setenv("JOBS_REDIS_URL", url_of(proxy))
        sys.modules.pop("tests.clients.jobs", None)
        jobs = importlib.import_module("tests.clients.jobs")
        opened.append(jobs.app)
        return jobs

    yield connect
    for app in opened:
        app.close()


def test_celery_needs_its_family(served: Callable[[Any], Proxy], celery_app: Callable[[Proxy], Any]) -> None:
    with pytest.raises(redis.ResponseError, match="don't hash to the same slot"):
        celery_app(served([])).app.control.purge()


def test_celery_works_off_its_queues(
    served: Callable[[Any], Proxy], celery_app: Callable[[Proxy], Any], tmp_path: Path
) -> None:
    proxy = served([{"preset": "celery", "queues": ["celery", "sums"]}])
    jobs = celery_app(proxy)
    log = tmp_path / "worker.log"
    argv = (
        "worker",
        "--pool=solo",
        "--concurrency=1",
        "-Q",
        "celery,sums",
        "--loglevel=INFO",
        "-n",
        "one@here",
    )
    with running(worker(proxy, log, str(executable("celery")), "-A", "tests.clients.jobs", *argv)) as process:
        try:
            assert jobs.app.control.purge() == 0
            results = [jobs.celery_add.apply_async((n, n), priority=n % 10) for n in range(10)]
            assert [result.get(timeout=30) for result in results] == [2 * n for n in range(10)]
            whole = chord(group(jobs.celery_add.s(n, 1) for n in range(6)), jobs.celery_total.s())()
            assert whole.get(timeout=30) == sum(n + 1 for n in range(6))
            assert chain(jobs.celery_add.s(1, 2), jobs.celery_add.s(4)).apply_async().get(timeout=30) == 7
            assert jobs.app.control.ping(timeout=5, limit=1) == [{"one@here": {"ok": "pong"}}]
        finally:
            print(log.read_text())  # shown when it fails
        process.terminate()
        assert process.wait(30) == 0, log.read_text()
    assert "CROSSSLOT" not in log.read_text()
