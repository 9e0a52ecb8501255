"""Every expression of dashboards, rules and alerts, asked of a real Prometheus that scrapes a real proxy."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import Engine
from tests.fixtures.clients import Wire
from tests.fixtures.dashboards import every_expression
from tests.fixtures.engines import StartFleet
from tests.fixtures.prometheus import RANGE, Prometheus, StartPrometheus
from tests.fixtures.promtool import promtool
from tests.fixtures.proxy import Config, Proxy, StartProxy, cluster_of, wait_until
from tests.integration.backup.steps import cli
from tests.integration.dashboards.load import ACCESS, load, login

WITHIN = 60.0  # seconds, on a busy machine; 20 on an idle one
VALUES = {"instance": ".+", "shard": "0", "__rate_interval": RANGE}
CLUSTERS = {"memcached.json": "pages", "overview.json": ".+"}  # all others show what `main` has

# What these show is not there on a fleet that is well, nor after the faults that are tried here.
NOT_HERE = {
    "shardproxy_relaxed_commands_total": "only of clusters of one shard",
    "shardproxy_certificate_expiry_timestamp_seconds": "only with TLS",
    "shardproxy_verified_logins": "only with IAM or a verifier",
    "shardproxy_verifier": "only with a verifier",
    "shardproxy_node_strangers_total": "only when another process answers at a node's address",
    "shardproxy_job_progress_ratio": "only while a job is under way: the one here takes moments",
    'shardproxy_job_state{instance=~".+", cluster=~"main"}) > 0': "likewise",
    "changes(shardproxy_topology_epoch": "only within a minute after a change",
}
# Without their `for`, a machine that is short of CPU is all that it takes.
UNDER_FAULTS = {
    "ShardproxyCacheDeadLetters",
    "ShardproxyFailoverPaused",
    "ShardproxyInDoubt",
    "ShardproxyNoPrimary",
    "ShardproxyNodeDown",
    "ShardproxyNodeUnreachable",
    "ShardproxyRefusalsBurn",
    "ShardproxyRefusalsBurnFast",
    "ShardproxyRequestsLost",
    "ShardproxyTryAgain",
}
# Without their `for`, a machine that is short of CPU is all that these take.
OF_A_BUSY_MACHINE = {
    "ShardproxyLatencyBurns",
    "ShardproxyLatencyBurnsFast",
    "ShardproxyLoopLag",
    "ShardproxyNodeTimeouts",
    "ShardproxyStoreSlow",
    "ShardproxyTilted",
}
TABLE = "create table users (id integer primary key, name text check (name <> 'bad'), email text)"
SELECT = "select name, email from users where id = :id"
UPSERT = (
    "insert into users (id, name, email) values (:id, :name, :email)"
    " on conflict (id) do update set name = excluded.name, email = excluded.email"
)


@dataclass
class Scene:
    """A proxy before a fleet and a pool under load, watched."""

    proxy: Proxy
    fleet: Fleet
    pool: Fleet
    prometheus: Prometheus


@pytest.fixture(scope="module")
def scene(
    start_fleet_for_module: StartFleet,
    start_proxy_for_module: StartProxy,
    start_prometheus_for_module: StartPrometheus,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("cache")
    fleet = start_fleet_for_module(shards=2, replicas=1)
    pool = start_fleet_for_module(engine=Engine.MEMCACHED, shards=2, replicas=0)
    for node in fleet.nodes:
        assert isinstance(node, RedisNode)
        node.ask("CONFIG", "SET", "maxmemory", "100mb")
    proxy = start_proxy_for_module(config_of(fleet, pool, folder))
    with ExitStack() as stack:
        stack.enter_context(load(proxy))
        prometheus = start_prometheus_for_module([proxy.config["admin"]])
        yield Scene(proxy, fleet, pool, prometheus)


def config_of(fleet: Fleet, pool: Fleet, folder: Path) -> Config:
    database = folder / "app.db"
    connection = sqlite3.connect(database)
    connection.execute(
        "create table users (id integer primary key, name text check (name <> 'bad'), email text)"
    )
    connection.executemany("insert into users values (?, 'ann', 'a@example.com')", [(n,) for n in range(20)])
    connection.commit()
    connection.close()
    (folder / "spool").mkdir()
    rule = {
        "match": "user:{id}",
        "load": {"source": "app", "sql": SELECT, "as": "json"},
        "ttl": "2s",
        "missing": "1s",
        "write": {"mode": "behind", "upsert": UPSERT, "delete": "delete from users where id = :id"},
    }
    main = cluster_of(
        fleet,
        access=ACCESS,
        near_cache={"memory": "8mb", "match": ["near:*"]},
        caching={"sources": {"app": {"url": f"sqlite:///{database}"}}, "rules": [rule]},
        timeouts={"reply": "1s", "park": "1s"},
        backups={"to": str(folder / "backups"), "spool": str(folder / "spool")},
        scaling={"shards": {"min": 1, "max": 2}, "target": {"memory": "90%"}},
    )
    return {"workers": 2, "clusters": {"main": main, "pages": cluster_of(pool, timeouts={"reply": "1s"})}}


def filled(file: str, expression: str) -> str:
    """With what is chosen above a dashboard in the place of its variables."""
    values = {**VALUES, "cluster": CLUSTERS.get(file, "main")}
    labels = re.fullmatch(r"label_values\((.*), \w+\)|query_result\((.*)\)", expression, re.DOTALL)
    if labels is not None:
        expression = labels[1] or labels[2]
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expression)


def shown() -> list[tuple[str, str]]:
    """What dashboards ask and rules record, once each."""
    found = ((file, filled(file, asked)) for file, asked in every_expression() if file != "alerts.yaml")
    return list(dict.fromkeys(found))


def alerts() -> list[str]:
    return [asked for file, asked in every_expression() if file == "alerts.yaml"]


def is_of_faults(expression: str) -> bool:
    """Whether nothing is right to be shown while all is well."""
    return bool(re.search(r"(== 0|> 0)\)?$", expression)) and "or vector" not in expression


def data_of(scene: Scene, asked: list[str]) -> None:
    """Wait until each has data."""
    left = set(asked)

    def is_all() -> bool:
        left.difference_update([one for one in left if scene.prometheus.query(one)])
        return not left

    wait_until(is_all, lambda: "no data of\n" + "\n".join(sorted(left)), timeout=WITHIN, interval=0.5)


def words(scene: Scene, *args: str) -> None:
    done = cli(*args, "--admin", scene.proxy.config["admin"])
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def test_names_and_texts_are_as_prometheus_wants_them(scene: Scene) -> None:
    said = promtool("check", "metrics", given=scene.proxy.get("/metrics")[1])
    assert said == ""


def test_no_alert_fires_while_all_is_well(scene: Scene) -> None:
    scraped = "count_over_time(shardproxy_info[1m]) >= 3"
    wait_until(lambda: scene.prometheus.query(scraped), "it scrapes", timeout=WITHIN)

    def firing() -> set[str]:
        return scene.prometheus.firing() - OF_A_BUSY_MACHINE

    wait_until(lambda: not firing(), lambda: str(firing()), timeout=WITHIN)
    assert scene.prometheus.troubles() == []
    for expression in alerts():
        scene.prometheus.query(expression)  # which raises where it is wrong


def test_every_panel_and_rule_has_data(scene: Scene) -> None:
    words(scene, "backup", "create", "main", "--name", "first")
    words(scene, "reshard", "main", "--move", "0-3:1")
    words(scene, "switchover", "main", "1")
    wanted = [
        expression
        for _, expression in shown()
        if not is_of_faults(expression) and not any(name in expression for name in NOT_HERE)
    ]
    assert len(wanted) > 100
    data_of(scene, wanted)
    assert scene.prometheus.troubles() == []


def test_what_shows_faults_has_data_under_them(scene: Scene) -> None:
    words(scene, "pause", "main")
    client = login(Wire(scene.proxy.address()))
    client.ask("SET", "user:5", '{"name": "bad", "email": "refused@example.com"}')
    wait_until(
        lambda: "ShardproxyCacheDeadLetters" in scene.prometheus.firing(), "it is refused", timeout=WITHIN
    )
    one, other = scene.fleet.shards
    primary = one.primary
    primary.freeze()
    client.send_command("SET", "bar", "in doubt")  # of the first shard
    queued = f'shardproxy_node_queued_bytes{{cluster="main",node="{primary.address}"}}'
    wait_until(lambda: scene.proxy.metrics()[queued] > 0, "it waits for an answer")
    for node in (primary, *one.replicas, *other.replicas, scene.pool.shards[0].primary):
        node.kill()
    scene.pool.shards[1].primary.freeze()
    wanted = [
        expression
        for _, expression in shown()
        if is_of_faults(expression) and not any(name in expression for name in NOT_HERE)
    ]
    data_of(scene, wanted)
    client.close()

    def silent() -> set[str]:
        return UNDER_FAULTS - scene.prometheus.firing()

    wait_until(lambda: not silent(), lambda: f"silent: {silent()}", timeout=WITHIN)


def test_a_proxy_that_is_gone_is_noticed(scene: Scene) -> None:
    scene.proxy.kill()
    wait_until(lambda: "ShardproxyDown" in scene.prometheus.firing(), "it is noticed", timeout=WITHIN)
