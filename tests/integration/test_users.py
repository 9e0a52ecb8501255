"""Users of a running proxy: who gets in, and what changed files, ACL SETUSER and a restart make of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from shardproxy.config.access import hash_of
from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

ACL = {"allow": ["acl"]}


def password(text: str) -> dict[str, str]:
    return {"sha256": hash_of(text)}


def user(name: str, text: str = "secret", **more: Any) -> dict[str, Any]:
    return {"name": name, "passwords": [password(text)], **more}


Connect = Callable[..., redis.Redis]


@pytest.fixture
def connect() -> Any:
    clients: list[redis.Redis] = []

    def open_client(proxy: Proxy, name: str | None = None, text: str | None = None) -> redis.Redis:
        client = redis.Redis(proxy.host, proxy.port, username=name, password=text, socket_timeout=10)
        clients.append(client)
        return client

    yield open_client
    for client in clients:
        client.close()


def gets_in(connect: Connect, proxy: Proxy, name: str | None, text: str | None) -> bool:
    try:
        return bool(connect(proxy, name, text).ping())
    except (redis.AuthenticationError, redis.ConnectionError):
        return False


def test_users_log_in_with_their_rights(fleet: Fleet, start_proxy: StartProxy, connect: Connect) -> None:
    users = [user("app", rules="~app:* +@read +@write"), user("report", preset="read-only"), user("default")]
    proxy = start_proxy(config_of(fleet, access={"users": users}))
    app, report = connect(proxy, "app", "secret"), connect(proxy, "report", "secret")
    assert app.set("app:1", "x")
    assert report.get("app:1") == b"x"
    with pytest.raises(redis.exceptions.NoPermissionError):
        app.get("other")
    with pytest.raises(redis.exceptions.NoPermissionError):
        report.set("app:1", "y")
    assert connect(proxy, None, "secret").acl_whoami() == "default"
    assert not gets_in(connect, proxy, "app", "wrong")
    assert not gets_in(connect, proxy, None, None)
    assert "secret" not in proxy.log()
    assert hash_of("secret") not in proxy.log()
    log = connect(proxy, None, "secret").acl_log()
    assert [(entry["reason"], entry["username"]) for entry in log[:2]] == [
        ("auth", "app"),
        ("command", "report"),
    ]
    assert "'user': 'report'" in str(log[1]["client-info"])


def test_who_is_not_named_is_off(fleet: Fleet, start_proxy: StartProxy, connect: Connect) -> None:
    proxy = start_proxy(config_of(fleet, access={"users": [user("app")]}))
    with pytest.raises(redis.AuthenticationError):
        connect(proxy).ping()
    assert str(connect(proxy, "app", "secret").acl_list()[1]).startswith("user default off ")


def test_a_file_is_read_again_when_it_changes(
    fleet: Fleet, start_proxy: StartProxy, connect: Connect, tmp_path: Path
) -> None:
    secret, users = tmp_path / "secret", tmp_path / "users.yaml"
    secret.write_text("one")
    users.write_text("- {name: file, passwords: [{sha256: '" + hash_of("file") + "'}]}\n")
    access = {"users": [{"name": "app", "passwords": [{"file": str(secret)}]}], "users_file": str(users)}
    proxy = start_proxy(config_of(fleet, access=access))
    staying = connect(proxy, "app", "one")
    assert staying.ping()
    assert gets_in(connect, proxy, "file", "file")

    replaced(secret, "two")
    wait_until(lambda: gets_in(connect, proxy, "app", "two"), "the password is the new one")
    assert not gets_in(connect, proxy, "app", "one")
    assert staying.ping(), "who is in stays in"

    users.write_text("- {name: file, passwords: [hunter2]}\n")
    wait_until(lambda: f"{users}:1:28" in proxy.log(), "the mistake is told")
    assert gets_in(connect, proxy, "file", "file"), "what was there stays"
    assert "hunter2" not in proxy.log()
    refused = 'shardproxy_config_reloads_total{outcome="refused"}'
    assert proxy.metrics()[refused] == 1
    users.write_text("- {name: other, passwords: [{sha256: '" + hash_of("x") + "'}]}\n")
    wait_until(lambda: gets_in(connect, proxy, "other", "x"), "the file is right again")
    assert not gets_in(connect, proxy, "file", "file")
    assert proxy.metrics()[refused] == 1, "told once"


def test_a_file_without_users_opens_nothing(
    fleet: Fleet, start_proxy: StartProxy, connect: Connect, tmp_path: Path
) -> None:
    users = tmp_path / "users.yaml"
    users.write_text("- {name: app, passwords: [{sha256: '" + hash_of("secret") + "'}]}\n")
    config = config_of(fleet, commands=ACL, access={"users_file": str(users)})
    proxy = start_proxy(config)
    app = connect(proxy, "app", "secret")
    refused = f"{users}:1:1: names no user"
    for told, text in enumerate(("", "[]\n", "# nobody\n"), 1):
        users.write_text(text)
        wait_until(lambda: proxy.log().count(refused) == told, "it is told")  # noqa: B023  # it is awaited here
        with pytest.raises(redis.AuthenticationError):
            connect(proxy).set("a", 1)
        assert gets_in(connect, proxy, "app", "secret"), "who was there stays"
    users.write_text("- {name: app, passwords: [{sha256: '" + hash_of("secret") + "'}]}\n")
    assert app.acl_load()
    before = users.read_text()
    assert app.acl_setuser("other", enabled=True, nopass=True, commands=["+acl"])
    assert connect(proxy, "other", "x").acl_deluser("app", "other") == 2
    assert not gets_in(connect, proxy, None, None)
    assert users.read_text() == before

    proxy.stop()
    users.write_text("")
    proxy = start_proxy(config, wait=False)
    assert proxy.wait() == 1
    assert refused in proxy.log()


def test_a_file_is_not_saved_without_users(
    fleet: Fleet, start_proxy: StartProxy, connect: Connect, tmp_path: Path
) -> None:
    users = tmp_path / "users.yaml"
    users.write_text("- {name: app, nopass: true}\n")
    access = {"users": [user("admin")], "users_file": str(users)}
    proxy = start_proxy(config_of(fleet, commands=ACL, access=access))
    admin = connect(proxy, "admin", "secret")
    assert admin.acl_deluser("app") == 1
    with pytest.raises(redis.ResponseError, match="names no user"):
        admin.acl_save()
    assert users.read_text() == "- {name: app, nopass: true}\n"
    assert not gets_in(connect, proxy, "app", "x"), "it is deleted all the same"


def replaced(path: Path, text: str) -> None:
    """Put another file in its place, as editors and Kubernetes do."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def test_a_refused_config_swallows_no_change_of_files(
    fleet: Fleet, start_proxy: StartProxy, connect: Connect, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one")
    app = {"name": "app", "passwords": [{"file": str(secret)}]}
    proxy = start_proxy(config_of(fleet, access={"users": [app]}))
    assert gets_in(connect, proxy, "app", "one")
    missing = {"name": "other", "passwords": [{"file": str(tmp_path / "missing")}]}
    replaced(secret, "two")
    proxy.reload(config_of(fleet, access={"users": [app, missing]}))  # before anybody has looked
    wait_until(lambda: "cannot read the secret" in proxy.log(), "the config is refused")
    wait_until(lambda: gets_in(connect, proxy, "app", "two"), "the password is the new one")
    assert not gets_in(connect, proxy, "app", "one")


def test_files_are_found_through_links_that_are_swapped(
    fleet: Fleet, start_proxy: StartProxy, connect: Connect, tmp_path: Path
) -> None:
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "secret").write_text(f"secret{number}")
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "secret").symlink_to("..data/secret")
    access = {"users": [{"name": "app", "passwords": [{"file": str(tmp_path / "secret")}]}]}
    proxy = start_proxy(config_of(fleet, access=access))
    assert gets_in(connect, proxy, "app", "secret1")
    (tmp_path / "..new").symlink_to("2")
    os.replace(tmp_path / "..new", tmp_path / "..data")  # noqa: PTH105  # Path.replace says the same
    wait_until(lambda: gets_in(connect, proxy, "app", "secret2"), "the link was followed")


def test_a_file_that_comes_later_is_read_then(
    fleet: Fleet, start_proxy: StartProxy, connect: Connect, tmp_path: Path
) -> None:
    users, secret = tmp_path / "users.yaml", tmp_path / "secret"
    users.write_text("- {name: file, enabled: false}\n")
    proxy = start_proxy(config_of(fleet, access={"users": [user("app")], "users_file": str(users)}))
    users.write_text(f"- {{name: late, passwords: [{{file: {secret}}}]}}\n")
    wait_until(lambda: "cannot read the secret" in proxy.log(), "the file is missed")
    secret.write_text("here")
    wait_until(lambda: gets_in(connect, proxy, "late", "here"), "it came")


def test_users_are_changed_by_those_who_may(fleet: Fleet, start_proxy: StartProxy, connect: Connect) -> None:
    users = [user("admin", preset="admin"), user("app", preset="read-write")]
    proxy = start_proxy(config_of(fleet, commands=ACL, access={"users": users}))
    admin, app = connect(proxy, "admin", "secret"), connect(proxy, "app", "secret")
    with pytest.raises(redis.exceptions.NoPermissionError):
        app.acl_setuser("mallory", enabled=True, nopass=True)
    assert admin.acl_setuser("bob", enabled=True, passwords=["+two"], keys=["b:*"], commands=["+@all"])
    assert connect(proxy, "bob", "two").set("b:1", 1), "at once"
    with pytest.raises(redis.exceptions.NoPermissionError):
        connect(proxy, "bob", "two").get("a")
    assert admin.execute_command("ACL", "SETUSER", "app", "-set") == b"OK"
    with pytest.raises(redis.exceptions.NoPermissionError):
        app.set("a", 1)
    assert admin.acl_deluser("app") == 1
    with pytest.raises((redis.AuthenticationError, redis.ConnectionError)):
        app.ping()
    before = admin.acl_list()
    proxy.restart()
    assert connect(proxy, "admin", "secret").acl_list() == before, "all of it outlives a restart"
    assert connect(proxy, "bob", "two").get("b:1") == b"1"
    assert not gets_in(connect, proxy, "app", "secret")
    for shard in fleet.shards:
        assert isinstance(shard.primary, RedisNode)
        assert "bob" not in str(shard.primary.ask("ACL", "LIST")), "nodes know nothing of it"

    config = {**proxy.config}
    users = config["clusters"]["main"]["access"]["users"]
    users[:] = [user("admin", preset="admin"), user("app", "new"), user("later")]
    proxy.reload(config)
    wait_until(lambda: gets_in(connect, proxy, "later", "secret"), "it is read again")
    assert not gets_in(connect, proxy, "app", "new"), "who is deleted stays so, whatever the password is"
    assert gets_in(connect, proxy, "bob", "two"), "of whom it says nothing stays"
    for listed in ([users[0]], [users[0], user("app", "new")]):
        users[:] = listed
        reloads = proxy.metrics()[RELOADED]
        proxy.reload(config)
        wait_until(lambda: proxy.metrics()[RELOADED] > reloads, "it is read again")  # noqa: B023  # awaited here
    assert gets_in(connect, proxy, "app", "new"), "the config says anew that there is one"


RELOADED = 'shardproxy_config_reloads_total{outcome="ok"}'


def test_who_is_switched_off_stays_off_while_passwords_are_rotated(
    fleet: Fleet, start_proxy: StartProxy, connect: Connect, tmp_path: Path
) -> None:
    secrets = [tmp_path / name for name in ("off", "gone", "kept")]
    for secret in secrets:
        secret.write_text("one")
    users = [{"name": secret.name, "passwords": [{"file": str(secret)}]} for secret in secrets]
    access = {"users": [user("admin"), *users]}
    proxy = start_proxy(config_of(fleet, commands=ACL, access=access))
    admin = connect(proxy, "admin", "secret")
    assert admin.execute_command("ACL", "SETUSER", "off", "off")
    assert admin.acl_deluser("gone") == 1
    assert admin.execute_command("ACL", "SETUSER", "kept", "-set")
    for secret in secrets:
        replaced(secret, "two")
    wait_until(lambda: gets_in(connect, proxy, "kept", "two"), "the password is the new one")
    assert not gets_in(connect, proxy, "kept", "one"), "though its rules were changed"
    with pytest.raises(redis.exceptions.NoPermissionError):
        connect(proxy, "kept", "two").set("a", 1)
    proxy.restart()
    for name in ("off", "gone"):
        for text in ("one", "two"):
            assert not gets_in(connect, proxy, name, text)


def test_an_open_cluster_gets_users(fleet: Fleet, start_proxy: StartProxy, connect: Connect) -> None:
    proxy = start_proxy(config_of(fleet, commands=ACL))
    anybody = connect(proxy)
    assert anybody.acl_setuser("bob", enabled=True, passwords=["+two"], keys=["b:*"], commands=["+get"])
    assert connect(proxy, "bob", "two").get("b:1") is None
    assert connect(proxy, "bob", "two").get("b:1") is None
    assert anybody.set("a", 1)
    assert anybody.execute_command("ACL", "SETUSER", "default", "-@all", "+acl", "+ping") == b"OK"
    with pytest.raises(redis.exceptions.NoPermissionError):
        anybody.set("a", 1)


def test_nobody_sees_passwords_that_are_set(fleet: Fleet, start_proxy: StartProxy, connect: Connect) -> None:
    proxy = start_proxy(config_of(fleet, commands=ACL))
    with connect(proxy).monitor() as monitor:
        connect(proxy).execute_command("ACL", "SETUSER", "bob", "on", ">hunter2")
        connect(proxy).ping()
        seen: list[str] = []
        while "PING" not in seen:
            seen.append(monitor.next_command()["command"])
    assert "hunter2" not in str(seen) + proxy.log()


def test_a_file_of_users_is_saved_and_loaded(
    fleet: Fleet, start_proxy: StartProxy, connect: Connect, tmp_path: Path
) -> None:
    users = tmp_path / "users.yaml"
    mine = f"- {{name: mine, passwords: [{{sha256: {hash_of('mine')}}}]}} # me\n"
    users.write_text("# who may\n" + mine)
    users.chmod(0o640)
    access = {"users": [user("admin")], "users_file": str(users)}
    proxy = start_proxy(config_of(fleet, commands=ACL, access=access))
    admin = connect(proxy, "admin", "secret")
    assert admin.acl_setuser("bob", enabled=True, passwords=["+two"], keys=["*"], commands=["+@all"])
    assert gets_in(connect, proxy, "bob", "two")
    with pytest.raises(redis.ResponseError, match="stands in the config file"):
        admin.acl_deluser("admin")
    assert admin.acl_load()
    assert not gets_in(connect, proxy, "bob", "two"), "it was not saved"
    admin.acl_setuser("bob", enabled=True, passwords=["+two"], keys=["*"], commands=["+@all"])
    assert admin.acl_save()
    assert users.read_text().startswith("# who may\n" + mine)
    assert users.stat().st_mode & 0o777 == 0o640
    assert "two" not in users.read_text()
    assert admin.execute_command("ACL", "SETUSER", "default", "on", "nopass") == b"OK"
    assert admin.acl_save()
    assert "- name: default\n  nopass: true\n  rules: resetchannels -@all\n" in users.read_text()
    with pytest.raises(redis.exceptions.NoPermissionError):
        connect(proxy).get("a")  # allowed nothing, as before it was saved
    admin.acl_setuser("bob", enabled=False)
    assert not gets_in(connect, proxy, "bob", "two"), "what comes after a save is not lost by it"
    proxy.restart()
    assert gets_in(connect, proxy, "bob", "two"), "as it was saved"
    admin = connect(proxy, "admin", "secret")
    admin.acl_deluser("bob", "mine")
    assert admin.acl_save()
    assert "default" in users.read_text()
    assert "bob" not in users.read_text()
    assert "mine" not in users.read_text()
    users.write_text("- {name: x, rule: y}\n")
    with pytest.raises(redis.ResponseError, match="is not a known key"):
        admin.acl_load()
    assert gets_in(connect, proxy, "admin", "secret")


def test_changes_that_cannot_be_understood_are_told(
    fleet: Fleet, start_proxy: StartProxy, connect: Connect, tmp_path: Path
) -> None:
    config = {**config_of(fleet, commands=ACL), "state": str(tmp_path / "state.json")}
    proxy = start_proxy(config)
    connect(proxy).acl_setuser("bob", enabled=True)
    state = tmp_path / "state.json"
    assert state.stat().st_mode & 0o777 == 0o600
    proxy.stop()
    of_before = {"format": 1, "kept": {"main": {"bob": 1}}}
    for kept, why in (([], "is damaged"), (of_before, "changes of users: those of cluster main on record")):
        (tmp_path / "state.json.users").write_text(json.dumps(kept))
        proxy = start_proxy(config, wait=False)
        assert proxy.wait() == 1
        assert why in proxy.log()


def test_changes_that_a_version_before_kept_are_taken(
    fleet: Fleet, start_proxy: StartProxy, connect: Connect, tmp_path: Path
) -> None:
    config = {**config_of(fleet, commands=ACL), "state": str(tmp_path / "state.json")}
    bob = {"name": "bob", "is_nopass": True, "passwords": [], "rules": "+get ~*"}
    kept = tmp_path / "state.json.users"
    kept.write_text(json.dumps({"format": 1, "kept": {"main": {"bob": {"user": bob, "base": None}}}}))
    for _ in range(2):
        proxy = start_proxy(config)
        assert "bob" in connect(proxy).acl_users()
        assert not kept.exists()
        proxy.stop()
