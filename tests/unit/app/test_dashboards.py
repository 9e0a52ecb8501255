"""Dashboards and alerts name only metrics and labels that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from shardproxy.admin import failover_metrics, job_metrics, login_metrics, metrics

DASHBOARDS = Path(__file__).parents[3] / "dashboards"
PROCESS = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
}
LABELS = {label for metric in metrics.TABLE for label in metric.labels} | {
    label for metric in failover_metrics.TABLE for label in metric.labels
}
LABELS |= {label for metric in job_metrics.TABLE for label in metric.labels}
LABELS |= {*metrics.LATENCY_LABELS, "version", "outcome", "le", "instance"}  # instance: Prometheus adds it

NAME = re.compile(r"\b((?:cluster:)?(?:shardproxy|process)_[a-z0-9_:]+)")


def rules(file: str) -> list[dict[str, Any]]:
    groups = YAML(typ="safe").load((DASHBOARDS / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard_expressions(node: Any) -> Iterator[str]:
    """Every query of a dashboard, wherever it stands in it."""
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key in ("expr", "definition"))
        for value in node.values():
            yield from dashboard_expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from dashboard_expressions(value)


def every_expression() -> Iterator[tuple[str, str]]:
    for file in sorted(DASHBOARDS.glob("*.json")):
        for expression in dashboard_expressions(json.loads(file.read_text())):
            yield file.name, expression
    for name in ("alerts.yaml", "rules.yaml"):
        for rule in rules(name):
            yield name, rule["expr"]


RECORDED = {rule["record"] for rule in rules("rules.yaml")}


@pytest.mark.parametrize(("file", "expression"), list(every_expression()))
def test_metrics_and_labels_exist(file: str, expression: str) -> None:
    names = set(NAME.findall(expression))
    assert names, f"{file}: no metric in {expression}"
    assert (
        names
        <= metrics.metric_names()
        | login_metrics.metric_names()
        | failover_metrics.metric_names()
        | job_metrics.metric_names()
        | PROCESS
        | RECORDED
    )
    used = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)\"", expression))
    for group in re.findall(r"\b(?:by|on|without)\s*\(([^)]*)\)", expression):
        used |= {label.strip() for label in group.split(",")}
    assert used <= LABELS


def test_every_metric_of_the_table_is_on_a_dashboard() -> None:
    on_dashboards = {name for _, expression in every_expression() for name in NAME.findall(expression)}
    shown_elsewhere = {
        "shardproxy_worker_buffers_bytes",
        "shardproxy_node_readable",
        "shardproxy_shard_epoch",
    }
    tables = {metric.name for metric in metrics.TABLE} | {metric.name for metric in failover_metrics.TABLE}
    tables |= {metric.name for metric in job_metrics.TABLE}
    assert tables - on_dashboards - shown_elsewhere == set()


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    for file in (
        DASHBOARDS / "alerts.yaml",
        DASHBOARDS / "rules.yaml",
        Path(__file__).parent / "alerts.test.yaml",
    ):
        shutil.copy(file, tmp_path)
    for command in (("check", "rules", "alerts.yaml", "rules.yaml"), ("test", "rules", "alerts.test.yaml")):
        done = subprocess.run((promtool, *command), cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_of_the_control_plane_is_tried() -> None:
    tried = (Path(__file__).parent / "alerts.test.yaml").read_text()
    own = {metric.name for metric in failover_metrics.TABLE if "node" not in metric.labels}
    own |= job_metrics.metric_names()
    asked = {rule["alert"]: set(NAME.findall(rule["expr"])) for rule in rules("alerts.yaml")}
    untried = {alert for alert, names in asked.items() if names <= own and alert not in tried}
    assert untried <= {"ShardproxyFailovers"}


def test_alerts_say_what_is_wrong_and_what_to_do() -> None:
    for rule in rules("alerts.yaml"):
        assert rule["alert"].startswith("Shardproxy")
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description"}
