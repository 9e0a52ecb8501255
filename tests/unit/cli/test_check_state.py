"""`check` compares a config with what a proxy that served it has on record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from shardproxy.cli import main
from shardproxy.config import RedisCluster, load_config
from shardproxy.store.local import LocalStore
from shardproxy.store.place import state_path
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.topology.assign import shards_assign


class Site:
    """A config file and the state file that a proxy has kept for it."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "proxy.yaml"
        self.state = state_path(self.config)

    def write(self, *shards: str, slots: str | None = None, **options: object) -> None:
        """Shards by name, or by node where they have none: `users=a:1`, `a:1`."""
        listed = []
        for shard in shards:
            name, equals, node = shard.rpartition("=")
            listed.append({"nodes": [node]} | ({"name": name} if equals else {}))
        cluster = {"engine": "redis", "endpoints": {"configuration": "127.0.0.1:7000"}, "shards": listed}
        cluster |= {"slots": slots} if slots is not None else {}
        self.config.write_text(json.dumps({"clusters": {"main": cluster}, **options}))

    def serve(self) -> None:
        """Leave on record what a proxy with this config would."""
        cluster = load_config(self.config).clusters["main"]
        assert isinstance(cluster, RedisCluster)

        async def keep() -> None:
            with LocalStore(self.state) as store:
                leadership = await store.claim("main")
                for setup in shards_assign("main", cluster, store.records):
                    record = ShardRecord(
                        setup.key,
                        1,
                        ShardState.OK,
                        setup.addresses[0],
                        setup.addresses,
                        name=setup.name,
                        slots=setup.slots,
                    )
                    await store.put(record, leadership)

        trio.run(keep)

    def check(self, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
        code = main(("check", str(self.config), *words))
        out, err = capsys.readouterr()
        return code, out, err


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Site(tmp_path)
    made.write("users=a:1", "b:1")
    return made


@pytest.mark.parametrize(
    "shards",
    [
        ["users=a:1", "b:1"],
        ["b:1", "users=a:1"],
        ["carts=b:1", "accounts=a:1"],
        ["users=c:1", "b:1"],
    ],
    ids=["the same", "another order", "other names", "other nodes under the name"],
)
def test_what_takes_no_slots_is_right(
    shards: Sequence[str], site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.serve()
    site.write(*shards)
    code, out, err = site.check(capsys)
    assert (code, err) == (0, "")
    assert "OK" in out


def test_a_shard_that_is_new_has_no_slots_and_that_is_said(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.serve()
    site.write("users=a:1", "b:1", "c:1")
    code, out, err = site.check(capsys)
    assert (code, err) == (0, "")
    assert "main: shard 2 has no slots, as all of them have an owner: shardproxy scale main --shards 3" in out


def test_a_shard_with_slots_that_leaves_is_wrong_with_what_to_do(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.serve()
    site.write("b:1")
    code, out, err = site.check(capsys)
    assert (code, out) == (1, "")
    assert "shard users (a:1), which the config does not have any more, has 8192 slots (0-8191)" in err
    assert "shardproxy drain main users" in err


def test_growth_beyond_one_shard_is_warned_of(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.write("a:1")
    site.serve()
    assert "CROSSSLOT" not in "".join(site.check(capsys)[1:])
    site.write("a:1", slots="strict")
    assert "CROSSSLOT" not in "".join(site.check(capsys)[1:])
    site.write("a:1", "b:1")
    code, out, _ = site.check(capsys)
    assert code == 0
    assert "main had one shard, and may have been one Redis to its clients: now keys in several slots" in out
    assert "shardproxy status says which commands" in out


def test_without_a_state_file_there_is_nothing_to_compare_with(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.check(capsys)[0] == 0


def test_a_state_file_can_be_named(site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    site.serve()
    moved = site.state.rename(tmp_path / "moved.json")
    site.write("users=a:1")
    assert site.check(capsys)[0] == 0
    assert site.check(capsys, "--state", str(moved))[0] == 1
    site.write("users=a:1", state=str(moved))
    code, _, err = site.check(capsys)
    assert code == 1
    assert "shard 1 (b:1), which the config does not have any more, has 8192 slots" in err


def test_a_state_file_that_cannot_be_read_is_said(
    site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = site.check(capsys, "--state", str(tmp_path / "none.json"))
    assert code == 1
    assert "No such file" in err
    for text in ("{", "[]", '{"shards": [{}]}', '{"shards": 1}'):
        (tmp_path / "bad.json").write_text(text)
        code, out, err = site.check(capsys, "--state", str(tmp_path / "bad.json"))
        assert (code, out) == (1, "")
        assert "not compared with the state file" in err
    site.write("users=a:1", state=str(tmp_path))  # a directory, as good as a file of another user
    code, out, err = site.check(capsys)
    assert (code, "OK" in out) == (0, True)
    assert "not compared with the state file" in err
