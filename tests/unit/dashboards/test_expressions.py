"""Dashboards and alerts name only metrics and labels that exist, and every metric is on a dashboard."""

from __future__ import annotations

import re

import pytest

from tests.fixtures.dashboards import (
    FOLDER,
    asked,
    every_expression,
    labels_known,
    names_known,
    names_of,
    pages,
    tables,
)


@pytest.mark.parametrize(("file", "expression"), list(every_expression()))
def test_metrics_and_labels_exist(file: str, expression: str) -> None:
    names = names_of(expression)
    assert names, f"{file}: no metric in {expression}"
    assert names <= names_known()
    used = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)\"", expression))
    for group in re.findall(r"\b(?:by|on|without)\s*\(([^)]*)\)", expression):
        used |= {label.strip() for label in group.split(",")}
    assert used <= labels_known()


def test_every_metric_of_the_tables_is_on_a_dashboard() -> None:
    shown = {name for page in pages().values() for expression in asked(page) for name in names_of(expression)}
    for line in tables():
        assert shown & set(line.series), line.name


def test_the_table_for_cloudwatch_names_what_there_is() -> None:
    text = (FOLDER / "README.md").read_text()
    known = names_known()
    known |= {name.removesuffix("_bucket") for name in known}
    named = names_of(text)
    assert len(named) > 25
    assert named <= known


def test_percentiles_are_of_all_buckets_together() -> None:
    for file, expression in every_expression():
        assert not re.search(r"\bavg\b", expression), f"{file}: {expression}"
        for inside in re.findall(r"histogram_quantile\(\s*[\d.]+,\s*(.{0,12})", expression):
            assert inside.startswith("sum by ("), f"{file}: {expression}"
