"""A backup that `shardproxy backup create` made comes back into another number of shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from shardproxy.cli import main
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import StartProxy, config_of
from tests.integration.importing.filling import LIBRARY, fill, open_to_jobs

Client = Callable[..., redis.Redis]


def test_three_shards_are_backed_up_and_come_back_as_five(
    start_fleet: StartFleet,
    start_proxy: StartProxy,
    redis_client: Client,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = start_proxy(open_to_jobs(config_of(start_fleet(shards=3, replicas=1))))
    new = start_proxy(open_to_jobs(config_of(start_fleet(shards=5, replicas=0))))
    client = redis_client(old)
    fill(client)
    client.function_load(LIBRARY)
    of_old, of_new = (("--admin", proxy.admin.removeprefix("http://")) for proxy in (old, new))
    place = str(tmp_path / "backups")
    assert main(["backup", "create", "main", "--to", place, "--name", "nightly", *of_old]) == 0
    assert main(["restore", "nightly", "--from", place, "--to", "main", *of_new]) == 0
    urls = [f"redis://{proxy.address()}" for proxy in (old, new)]
    assert main(["diff", *urls, "--rate", "100000", "--again", "0"]) == 0, capsys.readouterr()
    assert redis_client(new).dbsize() == client.dbsize()
    assert redis_client(new).execute_command("FCALL", "twice", 0, 21) == 42
