"""Every alert fires under what it is for, and only then, and says what to do."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.fixtures.dashboards import FOLDER, RULES, rules
from tests.fixtures.promtool import promtool

CASES = sorted(Path(__file__).parent.glob("*.test.yaml"))
ALERTS = {rule["alert"]: rule for rule in rules("alerts.yaml")}


def cases(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = YAML(typ="safe").load(file.read_text())["tests"]
    return found


def completed(file: Path) -> dict[str, Any]:
    """The file with what of each alert is always the same: its runbook, severity, and fixed description."""
    whole: dict[str, Any] = YAML(typ="safe").load(file.read_text())
    for case in whole["tests"]:
        for tried in case.get("alert_rule_test", ()):
            rule = ALERTS[tried["alertname"]]
            for fires in tried["exp_alerts"]:
                fires["exp_labels"].setdefault("severity", rule["labels"]["severity"])
                annotations = fires.setdefault("exp_annotations", {})
                for name, text in rule["annotations"].items():
                    if "{{" not in text:
                        annotations.setdefault(name, text)
    return whole


def test_rules_are_right(tmp_path: Path) -> None:
    for name in RULES:
        shutil.copy(FOLDER / name, tmp_path)
    promtool("check", "rules", "--lint-fatal", *RULES, cwd=tmp_path)


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.name.split(".")[0])
def test_alerts_fire_when_they_should(file: Path, tmp_path: Path) -> None:
    whole = completed(file)
    tried = {one["alertname"] for case in whole["tests"] for one in case["alert_rule_test"]}
    judged = {"groups": [{"name": "tried", "rules": [ALERTS[name] for name in sorted(tried)]}]}  # spares time
    (tmp_path / "alerts.yaml").write_text(json.dumps(judged))  # which is YAML
    shutil.copy(FOLDER / "rules.yaml", tmp_path)
    (tmp_path / file.name).write_text(json.dumps(whole))
    promtool("test", "rules", file.name, cwd=tmp_path)


def test_every_alert_is_tried_both_ways() -> None:
    fires: set[str] = set()
    rests: set[str] = set()
    for file in CASES:
        for case in cases(file):
            others = len(case["input_series"]) > 1
            for tried in case.get("alert_rule_test", ()):
                (fires if tried["exp_alerts"] else rests).add(tried["alertname"])
                if tried["exp_alerts"] and others:
                    rests.add(tried["alertname"])  # for none of the other series
    assert fires == ALERTS.keys()
    assert rests == ALERTS.keys()


def test_alerts_say_what_is_wrong_and_what_to_do() -> None:
    for name, rule in ALERTS.items():
        assert re.fullmatch(r"Shardproxy[A-Z]\w+", name)
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"runbook_url", "summary", "description"}
    assert len(ALERTS) == len(rules("alerts.yaml"))
