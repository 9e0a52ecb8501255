"""The config that one starts from is right."""

from __future__ import annotations

import pytest

from shardproxy.cli import main
from shardproxy.config import parse_config


def test_the_example_is_a_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "example"]) == 0
    assert list(parse_config(capsys.readouterr().out).clusters) == ["main"]


def test_run_without_a_file_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 1
    assert "shardproxy config example > shardproxy.yaml" in capsys.readouterr().err
