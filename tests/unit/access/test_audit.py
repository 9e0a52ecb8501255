"""The audit log: one JSON object a line, a bound, and what becomes of a disk that fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from shardproxy.access import audit as module
from shardproxy.access.audit import Audit, why_not_written
from shardproxy.access.audited import LOSSES_EVERY, run_loss_audit


async def written(audit: Audit, count: int) -> None:
    """Run it until so many lines are written."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(audit.run)
            while audit.statistics.written < count:  # noqa: ASYNC110  # statistics have no event
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()


async def test_a_line_is_an_object_and_nothing_breaks_it(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    audit = Audit(str(file))
    audit.note("login", user='a"\n{}', address="", client_id=7, why="\udcff")
    await written(audit, 1)
    (line,) = file.read_text().splitlines()
    noted = json.loads(line)
    assert noted.pop("time").endswith("Z")
    assert noted == {"event": "login", "user": 'a"\n{}', "client_id": 7, "why": "\udcff"}
    assert oct(file.stat().st_mode & 0o777) == oct(0o640 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


async def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    audit = Audit(str(file))
    audit.note("login", user="a")
    await written(audit, 1)
    file.rename(tmp_path / "audit.jsonl.1")
    audit.note("login", user="b")
    await written(audit, 2)
    assert json.loads(file.read_text())["user"] == "b"


async def test_what_does_not_fit_is_counted_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 10)
    file = tmp_path / "audit.jsonl"
    audit = Audit(str(file))
    for number in range(13):
        audit.note("login", client_id=number)
    assert audit.statistics.lost == 3
    await written(audit, 10)
    audit.note("login", client_id=13)
    await written(audit, 12)
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert [event["event"] for event in events[9:]] == ["login", "audit_lost", "login"]
    assert events[10]["lines"] == 3


async def test_a_disk_that_fails_loses_nothing_that_fits(tmp_path: Path) -> None:
    directory = tmp_path / "late"
    audit = Audit(str(directory / "audit.jsonl"))
    assert "is there a directory" in str(why_not_written(audit.place or ""))
    audit.note("login", user="a")
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(audit.run)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert audit.statistics.written == 0
            directory.mkdir()
            while not audit.statistics.written:  # noqa: ASYNC110  # as above
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert "login" in (directory / "audit.jsonl").read_text()


async def test_at_the_end_what_is_noted_is_written(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    audit = Audit(str(file))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(audit.run)
        await trio.testing.wait_all_tasks_blocked()
        audit.note("logout", user="a")
        nursery.cancel_scope.cancel()
    assert "logout" in file.read_text()


def test_nothing_is_kept_where_nobody_reads() -> None:
    audit = Audit()
    audit.note("login", user="a")
    assert audit.lines() == ()
    assert why_not_written("stdout") is None


STALLED = """
import trio
from shardproxy.access.audit import Audit

async def main():
    audit = Audit("stdout")
    for _ in range(2000):
        audit.note("login", user="a" * 200)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(audit.run)
        await trio.sleep(0.2)
        nursery.cancel_scope.cancel()

trio.run(main)
"""


def test_a_reader_that_has_stopped_does_not_hold_up_the_end() -> None:
    command = (sys.executable, "-c", STALLED)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.wait(30) == 0  # with its pipe full
        finally:
            process.kill()


def test_what_is_no_file_is_no_audit_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "is no file" in str(why_not_written(str(tmp_path / "fifo")))
    assert why_not_written("/dev/null") is None


async def test_what_was_not_told_is_noted_as_lost(autojump_clock: trio.testing.MockClock) -> None:
    audit, lost = Audit("/dev/null"), [0]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_loss_audit, lambda: lost[0], audit)
        await trio.sleep(LOSSES_EVERY * 2.5)
        audit.note("login", user="a")
        lost[0] = 7
        await trio.sleep(LOSSES_EVERY)
        audit.note("login", user="b")
        audit.note("login", user="c")
        nursery.cancel_scope.cancel()
    noted = [json.loads(line) for line in audit.lines()]
    assert [line["event"] for line in noted] == ["login", "audit_lost", "login", "login"]
    assert noted[1]["lines"] == 7
