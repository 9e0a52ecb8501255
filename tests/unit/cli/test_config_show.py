"""`shardproxy config show`: a config as it is understood, without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardproxy.cli import main
from shardproxy.config import load_config, parse_config
from shardproxy.config.shown import MASK, masked

FOLDER = Path(__file__).parents[3] / "config"
EXAMPLES = sorted(path for path in FOLDER.glob("*.yaml") if path.stem != "node-types")  # that is no config


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("more", [(), ("--all",)], ids=["as written", "with defaults"])
def test_what_is_shown_is_a_config_that_says_the_same(
    example: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("config", "show", str(example), *more)) == 0
    shown = capsys.readouterr().out
    if MASK not in shown:
        assert parse_config(shown) == load_config(example)


def test_hashes_of_passwords_are_masked_wherever_they_are() -> None:
    users = [{"name": "a", "passwords": [{"sha256": "5" * 64}, {"env": "A"}]}]
    assert masked({"access": {"users": users}}) == {
        "access": {"users": [{"name": "a", "passwords": [{"sha256": MASK}, {"env": "A"}]}]}
    }


def test_a_wrong_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("clusters: 1\n")
    assert main(("config", "show", str(file))) == 1
    assert "clusters" in capsys.readouterr().err
