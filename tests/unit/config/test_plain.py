"""What a person names may be no file."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from shardproxy.config import ConfigError, load_config
from shardproxy.config.plain import SilentPipeError, read_bytes


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_a_file_is_read_to_its_end_or_as_far_as_wanted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    assert len(read_bytes(tmp_path / "file", 10_000_000)) == 3_000_000
    assert read_bytes(tmp_path / "file", 5) == b"xxxxx"


def test_a_pipe_is_read_to_its_end(pipe: Path) -> None:
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"abc" * 100_000))
    writer.start()
    assert read_bytes(pipe, 1 << 20, wait=30) == b"abc" * 100_000
    writer.join()


def test_a_pipe_into_which_nobody_writes_is_not_waited_for_for_ever(pipe: Path) -> None:
    with pytest.raises(SilentPipeError, match="nobody writes"):
        read_bytes(pipe, 10, wait=0.01)


def test_of_a_silent_pipe_is_said_what_to_do(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_bytes, "__defaults__", (0.01,))
    with pytest.raises(ConfigError, match="nobody writes into this pipe"):
        load_config(pipe)


def test_a_directory_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        load_config(tmp_path)
