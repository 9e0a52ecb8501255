"""Dashboards are what Grafana's provisioning takes: whole, without inputs, and what their builder makes."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest

from dashboards.build.chart import CHART, copies
from dashboards.build.page import files_of
from dashboards.build.pages import PAGES
from tests.fixtures.dashboards import FOLDER, asked, pages

UNITS = {"short", "reqps", "ops", "cps", "s", "bytes", "Bps", "percentunit"}
KINDS = {"row", "stat", "timeseries", "bargauge", "state-timeline"}
BUILT_IN = {"__rate_interval"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

each_page = pytest.mark.parametrize("page", pages().values(), ids=pages().keys())


def test_files_are_what_the_builder_makes() -> None:
    made = files_of(PAGES)
    assert set(made) == set(FOLDER.glob("*.json")), "python -m dashboards.build; delete what is of no page"
    for path, text in made.items():
        assert path.read_text() == text, f"{path.name} was not made anew: python -m dashboards.build"


def test_the_helm_chart_ships_all_of_them_and_the_rules() -> None:
    shipped = {path: path.read_text() for path in CHART.iterdir()}
    assert {path.name for path in shipped} >= {"alerts.yaml", "rules.yaml", "overview.json"}
    assert shipped == copies(), "they were not copied anew: python -m dashboards.build"


@each_page
def test_a_page_can_be_provisioned(page: dict[str, Any]) -> None:
    assert not any(key.startswith("__") for key in page)
    assert "id" not in page  # Grafana's own: uid is what links and updates go by
    assert re.fullmatch(r"shardproxy-[a-z]+", page["uid"])
    assert len(page["uid"]) <= 40
    assert 30 <= page["schemaVersion"] <= 41
    assert page["title"].startswith("shardproxy: ")
    assert page["tags"] == ["shardproxy"]


def test_uids_and_titles_are_of_one_page_each() -> None:
    for key in ("uid", "title"):
        assert len({page[key] for page in pages().values()}) == len(pages())


@each_page
def test_panels_stand_beside_each_other(page: dict[str, Any]) -> None:
    panels = page["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert set(place) == {"x", "y", "w", "h"}
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        assert place["y"] >= 0
        assert place["h"] >= 1
    for a, b in combinations((panel["gridPos"] for panel in panels), 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)


@each_page
def test_panels_are_whole(page: dict[str, Any]) -> None:
    for panel in page["panels"]:
        assert panel["type"] in KINDS
        if panel["type"] == "row":
            assert panel["panels"] == []
            continue
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == DATASOURCE
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["fieldConfig"]["overrides"] == []
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(set(references)) == len(references)
        for target in panel["targets"]:
            assert target["datasource"] == DATASOURCE
            assert target["expr"]
            assert "$__interval" not in target["expr"]  # it may be shorter than two scrapes
            if panel["type"] != "stat":
                assert target["legendFormat"], panel["title"]


@each_page
def test_legends_name_labels_that_the_query_keeps(page: dict[str, Any]) -> None:
    for panel in page["panels"]:
        for target in panel.get("targets", ()):
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            kept = {
                label.strip()
                for group in re.findall(r"\bby \(([^)]*)\)", target["expr"])
                for label in group.split(",")
            }
            assert named <= kept or not kept, (panel["title"], named - kept)


@each_page
def test_variables_are_defined_and_used(page: dict[str, Any]) -> None:
    defined = [variable["name"] for variable in page["templating"]["list"]]
    assert defined[0] == "datasource"
    assert page["templating"]["list"][0]["type"] == "datasource"
    used = set(re.findall(r"\$\{?(\w+)", json.dumps([page["panels"], *asked(page)])))
    assert used - BUILT_IN <= set(defined)
    assert set(defined) <= used
    for index, variable in enumerate(page["templating"]["list"]):
        before = set(re.findall(r"\$(\w+)", variable.get("definition", "")))
        assert before <= set(defined[:index]), f"{variable['name']} is made of what comes after it"
