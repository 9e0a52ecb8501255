"""Files of a backup that is restored: gone with it, and with the process that used them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from shardproxy.importing.restore.spool import PREFIX, Spool

USES = """
import pathlib, sys
from shardproxy.importing.restore.spool import Spool
spool = Spool.make(pathlib.Path(sys.argv[1]))
(spool.path / "dump.rdb").write_text("secret")
print(spool.path, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_left_is_taken_away_by_the_next(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", USES, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        mine = Spool.make(tmp_path)
        assert (left / "dump.rdb").exists()
        other.send_signal(signal.SIGKILL)
        other.wait()
    third = Spool.make(tmp_path)
    assert not left.exists()
    assert mine.path.exists()
    assert mine.path.stat().st_mode & 0o777 == 0o700
    for spool in (mine, third):
        spool.remove()
    assert not list(tmp_path.iterdir())


def test_only_directories_of_restores_are_taken_away(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("x")
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "kept")
    (tmp_path / f"{PREFIX}file").write_text("x")
    Spool.make(tmp_path).remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", f"{PREFIX}file", f"{PREFIX}link"]
    assert (tmp_path / "kept/file").exists()
