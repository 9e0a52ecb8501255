"""What may be asked for: all that is kept is known, and of its kind."""

from __future__ import annotations

from typing import Any

import pytest

from shardproxy.importing.follow import ImportWorker
from shardproxy.importing.restore import RestoreWorker
from shardproxy.importing.wants import ImportWants, RestoreWants
from shardproxy.jobs.allowed import Allowed
from shardproxy.jobs.interface import JobError
from shardproxy.jobs.wanted import MAX_RATE
from tests.unit.importing.make import CLUSTER, Desk, FakeWork, World

RESTORE: dict[str, Any] = {"from": "/backups", "name": "nightly"}
IMPORT: dict[str, Any] = {"url": "redis://old"}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"password": "hunter2"}, "restore knows no 'password'"),
        ({"replace": 1}, "replace: send true or false"),
        ({"rdb": "x"}, "rdb: send a list of paths"),
        ({"rdb": ["/a\0b"]}, "rdb: send a list of paths"),
        ({"from": "/b\0"}, "from: send a text"),
        ({"from": "http://x"}, "neither a directory nor s3"),
        ({"from": "s3://Bucket?x"}, "is not s3://BUCKET"),
        ({"from": "s3://bucket/a?x"}, "is not s3://BUCKET"),
    ],
)
def test_what_a_restore_does_not_know_is_refused(more: dict[str, Any], why: str) -> None:
    with pytest.raises(JobError, match=why) as caught:
        RestoreWants.read({**RESTORE, **more})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"password": "hunter2"}, "import knows no 'password'"),
        ({"rate": MAX_RATE + 1}, "rate: send a number of bytes a second up to"),
        ({"rate": 10**30}, "rate"),
        ({"rate": True}, "rate"),
        ({"rate": -1}, "rate"),
        ({"match": ["a"]}, "match: send a text"),
    ],
)
def test_what_an_import_does_not_know_is_refused(more: dict[str, Any], why: str) -> None:
    with pytest.raises(JobError, match=why) as caught:
        ImportWants.read({**IMPORT, **more})
    assert "hunter2" not in str(caught.value)


def test_what_is_kept_reads_as_what_was_asked() -> None:
    asked = ImportWants.read({**IMPORT, "rate": MAX_RATE, "match": "a*", "follow": True})
    assert ImportWants.read(asked.json()) == asked
    restored = RestoreWants.read({**RESTORE, "replace": True, "key_file": "/keys/k"})
    assert RestoreWants.read(restored.json()) == restored


FILES = ("password_file", "ca_file", "cert_file", "key_file", "sentinel_password_file")
URL = "sentinels://old/main?" + "&".join(f"{name}=/secrets/{name}" for name in FILES)
NAMED = Allowed(("/backups",), ("/secrets",))


@pytest.mark.parametrize("name", FILES)
async def test_no_file_is_read_that_the_config_does_not_name(name: str) -> None:
    world = World(allowed=NAMED)
    worker = ImportWorker(world.means)
    assert worker.check(CLUSTER, {"url": URL})["url"] == URL
    wants = {"url": URL.replace(f"/secrets/{name}", "/etc/shadow")}
    with pytest.raises(JobError, match="/etc/shadow is nothing that jobs may use"):
        worker.check(CLUSTER, wants)
    with pytest.raises(JobError, match="/etc/shadow is nothing that jobs may use"):
        await worker.plan(Desk(), wants)
    with pytest.raises(JobError, match="/etc/shadow is nothing that jobs may use"):
        await worker.run(Desk(), FakeWork(wants))


@pytest.mark.parametrize(
    "wants",
    [
        {"from": "/etc", "name": "x"},
        {"from": "s3://bucket", "name": "x"},
        {"rdb": ["/secrets/a.rdb", "/etc/shadow"]},
        {"from": "/backups", "name": "x", "key_file": "/etc/shadow"},
    ],
)
async def test_nothing_is_restored_from_where_the_config_names_nothing(wants: dict[str, Any]) -> None:
    worker = RestoreWorker(World(allowed=NAMED).means)
    assert worker.check(CLUSTER, {"from": "/backups", "name": "x", "key_file": "/secrets/key"})
    with pytest.raises(JobError, match="nothing that jobs may use"):
        worker.check(CLUSTER, wants)
    with pytest.raises(JobError, match="nothing that jobs may use"):
        await worker.plan(Desk(), wants)
    with pytest.raises(JobError, match="nothing that jobs may use"):
        await worker.run(Desk(), FakeWork(wants))


def test_an_import_that_follows_alone_can_be_finished() -> None:
    worker = ImportWorker(World().means)
    assert worker.can_finish({**IMPORT, "follow": True})
    assert not worker.can_finish(IMPORT)
    assert not RestoreWorker(World().means).can_finish(RESTORE)
