"""What an operator types, and sees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.failover.moving.conftest import OpenMoving
from tests.failover.moving.site import MovingSite
from tests.failover.moving.workload import fill

ROOT = Path(__file__).parents[3]


def typed(site: MovingSite, *words: str) -> tuple[int, str]:
    """Exit code, and all that was printed."""
    done = subprocess.run(
        [sys.executable, "-m", "shardproxy", *words, "--admin", site.proxy.config["admin"]],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_slots_are_moved_from_the_command_line(moving_with: OpenMoving) -> None:
    site = moving_with(shards=2, empty=1, replicas=0)
    fill(site.proxy.address(), 2000)
    code, said = typed(site, "scale", "main", "--shards", "2", "--plan")
    assert code == 0, said
    assert "0 -> 1: 8192 slots (8192-16383), about" in said
    code, said = typed(site, "scale", "main", "--shards", "2")
    assert code == 0, said
    assert "8192 slots moved" in said
    code, said = typed(site, "reshard", "main", "--move", "0-99:1", "--output", "json")
    assert code == 0, said
    assert [len(slots) for slots in site.owners().values()] == [8092, 8292]
    code, said = typed(site, "rebalance", "main", "--by", "keys")
    assert code == 0, said
    code, said = typed(site, "drain", "main", "0")
    assert code == 0, said
    assert [len(slots) for slots in site.owners().values()] == [0, 16384]
    code, said = typed(site, "reshard", "main", "status")
    assert "done" in said, said
    code, said = typed(site, "scale", "main", "--shards", "3")
    assert code == 1
    assert "the config lists 2" in said
