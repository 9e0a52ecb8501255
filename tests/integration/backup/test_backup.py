"""Backups of real engines through a real proxy: one moment, whole or not there, loaded by stock engines."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.engines import StartFleet
from tests.fixtures.etcd import Etcd
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until
from tests.fixtures.s3 import S3
from tests.integration.backup.steps import (
    Pairs,
    admin,
    cli,
    client_of,
    create,
    effects_without_cause,
    keys_loaded,
    small_disk,
    stock_engine,
)

pytestmark = pytest.mark.usefixtures("_spool")


@pytest.fixture
def _spool(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()


def backups(folder: Path, to: str | None = None, **more: Any) -> dict[str, Any]:
    return {"to": to or str(folder / "backups"), "spool": str(folder / "spool"), **more}


def manifest(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "backups" / name / "manifest.json").read_text())
    return found


def rdbs(folder: Path, name: str) -> list[Path]:
    return [folder / "backups" / name / file["file"] for file in manifest(folder, name)["files"]]


def ask(node: object, *command: str | int) -> Any:
    assert isinstance(node, RedisNode)
    return node.ask(*command)


def proxy_over(start_proxy: StartProxy, fleet: Fleet, folder: Path, **options: Any) -> Proxy:
    kept = options.pop("backups", None) or backups(folder)
    return start_proxy(config_of(fleet, backups=kept, **options))


def test_all_shards_are_of_one_moment(
    start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path
) -> None:
    fleet = start_fleet(shards=3, replicas=1)
    for node in fleet.nodes:
        ask(node, "CONFIG", "SET", "repl-diskless-sync-delay", 7)
    proxy = proxy_over(start_proxy, fleet, tmp_path)
    with Pairs(proxy) as pairs:
        for name in ("first", "second", "third"):
            create(proxy, name)
            written = pairs.written
            wait_until(lambda: pairs.written > written + 50, "writes go on")  # noqa: B023
    assert pairs.errors == []
    for name in ("first", "second", "third"):
        said = manifest(tmp_path, name)
        assert said["cut"]["is_fenced"], said["cut"]
        assert {file["role"] for file in said["files"]} == {"replica"}
        keys = keys_loaded(rdbs(tmp_path, name))
        assert len(keys) == sum(file["keys"] for file in said["files"]) > 100
        assert effects_without_cause(keys) == set()
    for shard in fleet.shards:
        delay = ask(shard.replicas[0], "CONFIG", "GET", "repl-diskless-sync-delay")
        assert delay == [b"repl-diskless-sync-delay", b"7"]


def test_a_node_that_saves_keeps_only_unfenced_ones_apart(
    start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path
) -> None:
    """One node can fork only seconds later than the others. The check finds it where there is no fence."""
    fleet = start_fleet(shards=3, replicas=1)
    proxy = proxy_over(start_proxy, fleet, tmp_path)
    fill(proxy)
    replica = fleet.shards[1].replicas[0]
    found = {}
    with Pairs(proxy) as pairs:
        for name, fence in (("unfenced", False), ("fenced", True)):
            ask(replica, "CONFIG", "SET", "rdb-key-save-delay", 2000)
            ask(replica, "BGSAVE")
            ask(replica, "CONFIG", "SET", "rdb-key-save-delay", 0)  # of the next child
            start_job(proxy, {"name": name, "fence": fence})
            wait_until(lambda: jobs(proxy)[-1]["is_over"], lambda: f"{jobs(proxy)}", 60.0)
    assert pairs.errors == []
    for name in ("unfenced", "fenced"):
        assert manifest(tmp_path, name)["cut"]["is_fenced"] is (name == "fenced")
        found[name] = len(effects_without_cause(keys_loaded(rdbs(tmp_path, name))))
    assert found["fenced"] == 0
    assert found["unfenced"] > 0


def test_all_proxies_hold_at_one_moment(
    start_fleet: StartFleet, start_proxy: StartProxy, etcd: Etcd, tmp_path: Path
) -> None:
    """Causes are written through one proxy, effects through another; either may lead."""
    fleet = start_fleet(shards=2, replicas=1)
    store = {"etcd": {"endpoints": etcd.endpoints, "prefix": etcd.settings().prefix}}
    config = {**config_of(fleet, backups=backups(tmp_path)), "store": store}
    one, two = (start_proxy({**config, "name": name}) for name in ("one", "two"))
    with Pairs(one, two) as pairs:
        create(two, "first")
        create(one, "second")
    assert pairs.errors == []
    for name in ("first", "second"):
        assert manifest(tmp_path, name)["cut"]["is_fenced"], manifest(tmp_path, name)["cut"]
        keys = keys_loaded(rdbs(tmp_path, name))
        assert len(keys) > 50
        assert effects_without_cause(keys) == set()


def test_a_stock_engine_has_all_of_it(
    start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path
) -> None:
    fleet = start_fleet(shards=2, replicas=1, args=("--enable-debug-command", "local"))
    proxy = proxy_over(start_proxy, fleet, tmp_path)
    with client_of(proxy) as client:
        for number in range(300):
            client.set(f"string:{number}", "v" * number)
            client.hset(f"hash:{number}", mapping={str(field): field for field in range(number % 150 + 1)})
            client.zadd(f"zset:{number}", {str(member): member for member in range(number % 150 + 1)})
            client.rpush(f"list:{number}", *range(number % 150 + 1))
            client.sadd(f"set:{number}", *range(number % 150 + 1))
            client.xadd(f"stream:{number}", {"a": number})
            client.set(f"fading:{number}", "x", px=3_600_000 + number)
        client.function_load("#!lua name=mine\nredis.register_function('f', function() return 7 end)")
    create(proxy, "monday")
    for shard, file in zip(fleet.shards, rdbs(tmp_path, "monday"), strict=True):
        keys = sorted(ask(shard.primary, "KEYS", "*"))
        assert len(keys) > 900
        with stock_engine(file) as stock:
            assert sorted(stock.keys("*")) == keys
            for key in keys:
                assert stock.execute_command("PEXPIRETIME", key) == ask(shard.primary, "PEXPIRETIME", key)
            assert stock.execute_command("DEBUG DIGEST") == ask(shard.primary, "DEBUG", "DIGEST")
            assert stock.execute_command("FCALL", "f", 0) == 7
    said = manifest(tmp_path, "monday")
    assert [file["functions"] for file in said["files"]] == [1, 1]
    assert sum(file["expires"] for file in said["files"]) == 300
    assert sum(file["types"]["stream"] for file in said["files"]) == 300


def test_a_shard_without_replicas_is_read_from_its_primary(
    start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path
) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    proxy = proxy_over(start_proxy, fleet, tmp_path)
    with Pairs(proxy) as pairs:
        create(proxy, "monday")
    assert pairs.errors == []
    said = manifest(tmp_path, "monday")
    assert {file["role"] for file in said["files"]} == {"primary"}
    assert said["cut"]["is_fenced"], said["cut"]
    assert effects_without_cause(keys_loaded(rdbs(tmp_path, "monday"))) == set()


def test_who_wants_no_fence_gets_none(
    start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path
) -> None:
    fleet = start_fleet(shards=2, replicas=1)
    proxy = proxy_over(start_proxy, fleet, tmp_path)
    with Pairs(proxy) as pairs:
        assert "a moment of its own" in create(proxy, "monday", "--no-fence")
    assert pairs.errors == []
    assert not manifest(tmp_path, "monday")["cut"]["is_fenced"]
    assert cli("backup", "verify", "monday", "--from", str(tmp_path / "backups")).returncode == 0


def test_the_life_of_a_backup(start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    (tmp_path / "key").write_text("ab" * 32)
    proxy = proxy_over(
        start_proxy, fleet, tmp_path, backups=backups(tmp_path, key_file=str(tmp_path / "key"))
    )
    there = ("--config", str(proxy.file))
    with client_of(proxy) as client:
        for number in range(1000):
            client.set(f"key:{number}", "secret-value")
    planned = cli("backup", "create", "main", "--name", "monday", "--plan", *admin(proxy))
    assert "encrypted" in planned.stdout, planned.stderr
    create(proxy, "monday")
    again = cli("backup", "create", "main", "--name", "monday", *admin(proxy))
    assert again.returncode == 1
    assert "take another name" in again.stderr

    for file in rdbs(tmp_path, "monday"):
        assert b"secret-value" not in file.read_bytes()
    assert "monday" in cli("backup", "list", *there).stdout
    assert "1000 keys" in cli("backup", "show", "monday", *there).stdout
    verified = cli("backup", "verify", "monday", *there)
    assert (verified.returncode, "is whole: 1000 keys" in verified.stdout) == (0, True), verified.stderr
    without = cli("backup", "verify", "monday", "--from", str(tmp_path / "backups"))
    assert (without.returncode, "say which file has it" in without.stderr) == (1, True)

    assert cli("backup", "copy", "monday", "kept", "--to", str(tmp_path / "other"), *there).returncode == 0
    assert cli("backup", "delete", "monday", *there).returncode == 0
    assert "no backup" in cli("backup", "list", *there).stdout
    key = ("--key-file", str(tmp_path / "key"))
    assert cli("backup", "verify", "kept", "--from", str(tmp_path / "other"), *key).returncode == 0

    exported = cli("backup", "export", "kept", "--to", str(tmp_path), "--from", str(tmp_path / "other"), *key)
    assert exported.returncode == 0, exported.stderr
    keys = keys_loaded([tmp_path / "kept-0001.rdb", tmp_path / "kept-0002.rdb"])
    assert keys == {f"key:{number}" for number in range(1000)}

    damaged = next((tmp_path / "other" / "kept").glob("*.rdb"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    broken = cli("backup", "verify", "kept", "--from", str(tmp_path / "other"), *key)
    assert broken.returncode == 1
    assert "does not open" in broken.stderr or "damaged" in broken.stderr


def slow(fleet: Fleet, seconds: float) -> None:
    """Have every node take so long to write its RDB, as if it were large."""
    for shard in fleet.shards:
        keys = int(ask(shard.primary, "DBSIZE"))
        for node in shard.nodes:
            ask(node, "CONFIG", "SET", "rdb-key-save-delay", int(seconds * 1e6 / max(1, keys)))


def fill(proxy: Proxy, count: int = 3000) -> None:
    with client_of(proxy) as client:
        pipe = client.pipeline(transaction=False)
        for number in range(count):
            pipe.set(f"key:{number}", "v" * 100)
        pipe.execute()


def jobs(proxy: Proxy) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(proxy.get("/api/jobs?cluster=main")[1])["jobs"]
    return found


def start_job(proxy: Proxy, wants: dict[str, Any]) -> None:
    """Ask for a backup at once: a command line takes seconds to start."""
    body = json.dumps({"cluster": "main", "kind": "backup", "wants": wants}).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{proxy.admin}/api/jobs/start", body, headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        assert response.status == 200


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def begin(proxy: Proxy, name: str, stage: str) -> None:
    """Ask for a backup, and return when it is so far."""
    done = cli("backup", "create", "main", "--name", name, "--detach", *admin(proxy))
    assert done.returncode == 0, done.stderr
    wait_until(
        lambda: jobs(proxy)[-1]["progress"]["stage"] == stage or jobs(proxy)[-1]["is_over"],
        lambda: f"{jobs(proxy)}\n{proxy.log()}",
        60.0,
    )
    assert not jobs(proxy)[-1]["is_over"], jobs(proxy)


def test_a_killed_proxy_begins_anew(start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path) -> None:
    fleet = start_fleet(shards=2, replicas=1)
    (tmp_path / "key").write_text("ab" * 32)
    kept = backups(tmp_path, key_file=str(tmp_path / "key"))
    proxy = proxy_over(start_proxy, fleet, tmp_path, backups=kept)
    for node in fleet.nodes:
        ask(node, "CONFIG", "SET", "repl-diskless-sync-delay", 7)
    fill(proxy)
    slow(fleet, 4.0)
    begin(proxy, "monday", "reading")
    proxy.kill()
    assert files_in(tmp_path / "spool"), "what it was reading is left"
    slow(fleet, 0.0)
    proxy.begin()
    proxy.wait_ready()
    done = cli("jobs", "main", "--wait", *admin(proxy))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{proxy.log()}"
    assert files_in(tmp_path / "spool") == []
    assert files_in(tmp_path / "backups") == sorted(
        f"monday/{name}"
        for name in ("manifest.json", *(file["file"] for file in manifest(tmp_path, "monday")["files"]))
    )
    verified = cli("backup", "verify", "monday", "--config", str(proxy.file))
    assert verified.returncode == 0, verified.stderr
    for shard in fleet.shards:
        assert ask(shard.replicas[0], "CONFIG", "GET", "repl-diskless-sync-delay")[1] == b"7"
    with client_of(proxy) as client:
        client.set("after", "1")  # nothing is held any more


def test_one_that_is_given_up_leaves_nothing(
    start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path
) -> None:
    fleet = start_fleet(shards=2, replicas=1)
    proxy = proxy_over(start_proxy, fleet, tmp_path)
    fill(proxy)
    slow(fleet, 20.0)
    begin(proxy, "monday", "reading")
    assert cli("jobs", "main", "--abort", *admin(proxy)).returncode == 0
    assert cli("jobs", "main", "--wait", *admin(proxy)).returncode == 3
    assert files_in(tmp_path / "backups") + files_in(tmp_path / "spool") == []


def test_a_source_that_dies_is_replaced(
    start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path
) -> None:
    fleet = start_fleet(shards=2, replicas=1)
    proxy = proxy_over(start_proxy, fleet, tmp_path)
    fill(proxy)
    slow(fleet, 5.0)
    begin(proxy, "monday", "reading")
    fleet.kill(fleet.shards[1].replicas[0])
    done = cli("jobs", "main", "--wait", *admin(proxy))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{proxy.log()}"
    said = manifest(tmp_path, "monday")
    assert [file["role"] for file in said["files"]] == ["replica", "primary"]
    assert len(files_in(tmp_path / "backups")) == 3
    assert cli("backup", "verify", "monday", "--from", str(tmp_path / "backups")).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted, which takes root")
def test_a_full_disk_leaves_nothing(start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path) -> None:
    fleet = start_fleet(shards=2, replicas=1)
    try:
        with small_disk(tmp_path / "small", 200 << 10):
            proxy = proxy_over(start_proxy, fleet, tmp_path, backups={"to": str(tmp_path / "small")})
            with client_of(proxy) as client:
                for number in range(200):
                    client.set(f"key:{number}", os.urandom(4096).hex())
            done = cli("backup", "create", "main", "--name", "monday", *admin(proxy))
            assert done.returncode == 1
            assert "it may not fit" in done.stdout
            assert "No space left" in done.stderr, done.stderr
            assert files_in(tmp_path / "small") == []
            assert "SnapshotFailed" in proxy.get("/api/events?cluster=main")[1]
            with client_of(proxy) as client:
                client.set("after", "1")
    except OSError as e:
        pytest.skip(f"no small disk can be mounted: {e}")


@pytest.fixture
def to_s3(s3: S3, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The config of backups in a bucket, and an environment that opens it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_access_key)
    monkeypatch.setenv("BACKUP_SECRET", s3.secret_access_key)
    return {
        "to": f"{s3.url}/main-{time.monotonic_ns()}",
        "s3": {
            "endpoint": s3.endpoint,
            "region": "us-east-1",
            "access_key_id": s3.access_key_id,
            "secret_access_key": {"env": "BACKUP_SECRET"},
        },
    }


def test_a_bucket_keeps_backups(
    start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path, s3: S3, to_s3: dict[str, Any]
) -> None:
    fleet = start_fleet(shards=2, replicas=1)
    proxy = proxy_over(start_proxy, fleet, tmp_path, backups={**to_s3, "spool": str(tmp_path / "spool")})
    with Pairs(proxy) as pairs:
        create(proxy, "monday")
    assert pairs.errors == []
    assert files_in(tmp_path / "spool") == []
    there = ("--from", to_s3["to"], "--s3-endpoint", s3.endpoint, "--s3-region", "us-east-1")
    verified = cli("backup", "verify", "monday", *there)
    assert verified.returncode == 0, verified.stderr
    assert "all shards at one moment" in verified.stdout
    copied = cli("backup", "copy", "monday", "kept", *there)
    assert copied.returncode == 0, copied.stderr
    exported = cli("backup", "export", "kept", "--to", str(tmp_path / "out"), *there)
    assert exported.returncode == 0, exported.stderr
    assert effects_without_cause(keys_loaded(sorted((tmp_path / "out").glob("*.rdb")))) == set()
    assert cli("backup", "delete", "kept", *there).returncode == 0
    listed = json.loads(cli("backup", "list", "--output", "json", *there).stdout)
    assert [one["name"] for one in listed["backups"]] == ["monday"]
    assert s3.secret_access_key not in proxy.log()


def test_a_bucket_that_is_silent_holds_up_nobody(
    start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path, s3: S3, to_s3: dict[str, Any]
) -> None:
    """RDBs are read at full speed whatever the bucket does: replicas that share a fork wait for nobody."""
    fleet = start_fleet(shards=2, replicas=1)
    proxy = proxy_over(start_proxy, fleet, tmp_path, backups={**to_s3, "spool": str(tmp_path / "spool")})
    fill(proxy)
    slow(fleet, 2.0)
    begin(proxy, "monday", "reading")
    s3.freeze()
    try:
        wait_until(
            lambda: jobs(proxy)[-1]["progress"]["stage"] == "storing",
            lambda: f"{jobs(proxy)}\n{proxy.log()}",
            60.0,
        )
        for shard in fleet.shards:
            info = shard.primary.info("replication") if isinstance(shard.primary, RedisNode) else {}
            assert info["connected_slaves"] == "1"
            replica = shard.replicas[0]
            assert isinstance(replica, RedisNode)
            assert replica.info("persistence")["rdb_bgsave_in_progress"] == "0"
        with client_of(proxy) as client:
            client.set("meanwhile", "1")
    finally:
        s3.thaw()
    done = cli("jobs", "main", "--wait", *admin(proxy))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{proxy.log()}"
    assert files_in(tmp_path / "spool") == []


def test_a_bucket_that_is_away_is_said_before_anything_is_done(
    start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path, to_s3: dict[str, Any]
) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    nowhere = {**to_s3, "s3": {**to_s3["s3"], "endpoint": "http://127.0.0.1:1"}}
    proxy = proxy_over(start_proxy, fleet, tmp_path, backups=nowhere)
    done = cli("backup", "create", "main", "--name", "monday", *admin(proxy))
    assert done.returncode == 1
    assert "s3://backups" in done.stderr
    assert jobs(proxy) == []


def test_the_daily_one_is_made_in_its_window(
    start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path
) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    hour = time.gmtime().tm_hour
    kept = backups(tmp_path, retention=7, window=f"{hour:02}:00-{(hour + 2) % 24:02}:00")
    proxy = proxy_over(start_proxy, fleet, tmp_path, backups=kept)
    wait_until(lambda: list((tmp_path / "backups").glob("automatic.main-*/manifest.json")), proxy.log, 60.0)
    assert len(jobs(proxy)) == 1
    listed = cli("backup", "list", "--config", str(proxy.file))
    assert "automatic" in listed.stdout
