"""Users that were changed: how long a change holds, and what is written of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from shardproxy.access.audit import Audit
from shardproxy.config import ConfigError, parse_config
from shardproxy.config.access import ALL_RIGHTS, Preset
from shardproxy.config.files import FilesRead
from shardproxy.config.users import UsersError
from shardproxy.dataplane.rules import RuleError, rules_of_package
from shardproxy.dataplane.users import ANYBODY, NOBODY, ProxyUser, user_changed
from shardproxy.store.kept import KeptFile
from shardproxy.store.local import StateFileError
from shardproxy.topology.reload import Clusters
from shardproxy.topology.settings import settings_read
from shardproxy.topology.user_changes import (
    Change,
    by_name,
    change_of,
    changes_decode,
    changes_encode,
    changes_standing,
    changes_void,
    edit_of,
    laid_over,
    users_changed,
)
from shardproxy.topology.users import UserBook, users_file_change

HASH = "5" * 64
APP = ProxyUser("app", passwords=(HASH,), rules="~app:* +@all")
BOB = ProxyUser("bob", is_nopass=True, rules="+get")

CONFIG = """\
clusters:
  main:
    engine: redis
    endpoints: {configuration: 127.0.0.1:7000}
    shards: [{nodes: ["127.0.0.1:6379"]}]
    ACCESS
  pages:
    engine: memcached
    endpoints: {configuration: 127.0.0.1:11211}
    nodes: ["127.0.0.1:11311"]
"""


def test_a_change_holds_until_the_config_says_something_else() -> None:
    configured = {"app": APP}
    changes = {"app": change_of(APP, replace(BOB, name="app")), "bob": change_of(None, BOB)}
    assert changes_standing(configured, changes) == changes
    assert not changes_void(configured, changes)
    other = ProxyUser("app", rules="+keys")
    assert changes_standing({"app": other}, changes) == {"bob": changes["bob"]}
    assert changes_void({"app": other}, changes) == ["app (login)", "app (rules)"]
    assert changes_standing({}, changes) == {"bob": changes["bob"]}
    assert changes_void({}, changes) == ["app"]
    assert changes_standing({"app": APP, "bob": BOB}, changes) == {"app": changes["app"]}, "it has come true"
    assert not changes_void({"app": APP, "bob": BOB}, changes)
    assert changes_void({"app": APP, "bob": replace(BOB, rules="")}, changes) == ["bob"]


OFF = replace(APP, is_enabled=False)
ROTATED = replace(APP, passwords=("6" * 64,))


@pytest.mark.parametrize(
    "now",
    [
        ROTATED,
        replace(APP, rules="+get"),
        replace(APP, passwords=(), is_nopass=True),
        replace(APP, passwords=(), verified_by="iam", session=60.0),
        replace(APP, session=60.0),
    ],
)
def test_who_is_off_or_deleted_stays_so(now: ProxyUser) -> None:
    off, gone = {"app": change_of(APP, OFF)}, {"app": change_of(APP, None)}
    for changes in (off, gone):
        assert changes_standing({"app": now}, changes) == changes
        assert not changes_void({"app": now}, changes)
    assert users_changed({"app": now}, off) == {"app": replace(now, is_enabled=False)}
    assert users_changed({"app": now}, gone) == {}


@pytest.mark.parametrize("became", [OFF, None])
def test_that_ends_when_the_config_says_so(became: ProxyUser | None) -> None:
    changes = {"app": change_of(APP, became)}
    assert not changes_standing({"app": OFF}, changes)
    assert not changes_standing({}, changes)
    back = {"app": change_of(OFF, APP)}
    assert changes_standing({"app": APP}, back) == {}, "it has come true"


def test_what_a_change_is_not_of_is_as_configured() -> None:
    """A password that was rotated is no good, though the user's rules are changed."""
    changes = {"app": change_of(APP, replace(APP, rules="+get"))}
    assert changes_standing({"app": ROTATED}, changes) == changes
    assert users_changed({"app": ROTATED}, changes) == {"app": replace(ROTATED, rules="+get")}
    both = {"app": change_of(APP, replace(APP, rules="+get", passwords=("7" * 64,)))}
    assert changes_void({"app": ROTATED}, both) == ["app (login)"]
    standing = changes_standing({"app": ROTATED}, both)
    assert users_changed({"app": ROTATED}, standing) == {"app": replace(ROTATED, rules="+get")}


def test_a_release_makes_no_change_void() -> None:
    """Presets are told by their names, and what a user is besides is no matter."""
    app = replace(APP, rules="+@read", preset="read-only")
    changes = {"app": change_of(app, replace(app, rules="+get", preset=None))}
    newer = replace(app, rules="+@read +info", session=60.0)
    assert changes_standing({"app": newer}, changes) == changes
    assert changes_standing({"app": replace(newer, preset="admin")}, changes) == {}


def test_rules_stay_as_written_while_something_else_changes() -> None:
    app = replace(APP, rules=Preset.READ_ONLY.rules, preset="read-only")
    off = user_changed(app, [b"off"], rules_of_package())
    assert off == replace(app, is_enabled=False)
    more = user_changed(app, [b"+set"], rules_of_package())
    assert more.preset is None
    assert more.rules != app.rules


def test_a_deletion_is_a_change_like_others() -> None:
    changes = {"app": change_of(APP, None), "nobody": change_of(None, None)}
    assert set(changes_standing({"app": APP}, changes)) == {"app"}
    assert users_changed({"app": APP, "bob": BOB}, changes) == {"bob": BOB}


USERS = st.builds(
    ProxyUser,
    name=st.sampled_from(["app", "bob", "default"]),
    is_enabled=st.booleans(),
    is_nopass=st.booleans(),
    passwords=st.lists(st.sampled_from(["1" * 64, "2" * 64]), unique=True).map(tuple),
    rules=st.sampled_from(["", "+get", "~* (+set ~a)"]),
    verified_by=st.sampled_from([None, "iam", "external"]),
    session=st.sampled_from([0.0, 43200.0]),
    preset=st.sampled_from([None, "admin"]),
)


@given(st.dictionaries(st.text(max_size=5), st.builds(change_of, st.none() | USERS, st.none() | USERS)))
def test_changes_outlive_being_written(changes: dict[str, Change]) -> None:
    written = json.loads(json.dumps(changes_encode({"main": changes})))
    assert changes_decode(written) == {"main": changes}


def test_what_a_newer_version_kept_besides_is_left_out() -> None:
    written = json.loads(json.dumps(changes_encode({"main": {"app": change_of(APP, OFF)}})))
    written["main"]["app"]["user"]["tomorrow"] = 1
    written["main"]["app"]["base"]["tomorrow"] = "0"
    written["main"]["app"]["tomorrow"] = {}
    assert changes_decode(written) == {"main": {"app": change_of(APP, OFF)}}


async def test_void_changes_are_noted_and_those_of_a_cluster_that_is_gone() -> None:
    config = parse_config(CONFIG.replace("ACCESS", "access: {users: [{name: app}]}"))
    settings = settings_read(config, "7.0.15")
    app, audit, kept = ProxyUser("app"), Audit("stdout"), Keeper()
    changes = {
        "main": {"app": change_of(app, replace(app, rules="+get"))},
        "gone": {"bob": change_of(None, BOB)},
    }
    book = UserBook(kept, changes, kept.serve, kept.reread, audit)
    await book.take(config, settings)
    assert [line["object"] for line in map(json.loads, audit.lines())] == ["bob"]
    assert changes_decode(kept.value) == {"main": changes["main"]}
    assert {user.name: user.rules for user in book.users("main")}["app"] == "+get"
    newer = parse_config(CONFIG.replace("ACCESS", "access: {users: [{name: app, rules: +set}]}"))
    with capture_logs() as log:
        await book.take(newer, settings_read(newer, "7.0.15"))
    assert [(line["log_level"], line["users"]) for line in log] == [("warning", ["app (rules)"])]
    (_, noted) = map(json.loads, audit.lines())
    assert (noted["event"], noted["cluster"]) == ("user_changes_void", "main")
    assert noted["object"] == "app (rules)"
    assert changes_decode(kept.value) == {}


class Keeper:
    """What is kept last."""

    value: Any = None

    async def write(self, value: Any) -> None:
        self.value = value

    async def serve(self, clusters: Clusters, reason: str) -> None:
        raise NotImplementedError

    async def reread(self, cluster: str) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    "value",
    [1, {"main": 1}, {"main": {"a": 1}}, {"main": {"a": {"user": {"name": "a"}}}}, {"main": {"a": {}}}],
)
def test_what_is_no_change_is_refused(value: object) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        changes_decode(value)


def test_nothing_was_kept_at_first() -> None:
    assert changes_decode(None) == {}


def test_changes_are_laid_over_the_settings() -> None:
    settings = settings_read(parse_config(CONFIG.replace("ACCESS", "")), "7.0.15")
    changes = {"main": {"bob": Change(BOB, None)}, "pages": {"bob": Change(BOB, None)}}
    now = laid_over(settings, changes)
    assert now["main"].users == (ANYBODY, BOB), "where nobody logs in, everybody is the default user"
    assert now["pages"] is settings["pages"], "memcached knows no ACL commands"
    assert laid_over(settings, {}) == settings
    closed = settings_read(parse_config(CONFIG.replace("ACCESS", "access: {users: [{name: app}]}")), "7.0.15")
    assert laid_over(closed, changes)["main"].users == (ProxyUser("app"), NOBODY, BOB)


def test_only_what_has_changed_is_written_into_a_file() -> None:
    assert edit_of(APP, APP) == {}
    assert edit_of(APP, ProxyUser("app", passwords=(HASH,), rules="+get")) == {
        "rules": "+get",
        "preset": None,
    }
    assert edit_of(APP, ProxyUser("app", is_enabled=False, rules=APP.rules)) == {
        "enabled": False,
        "passwords": None,
    }
    assert edit_of(None, APP) == {
        "enabled": None,
        "nopass": None,
        "passwords": [{"sha256": HASH}],
        "iam": None,
        "external": None,
        "preset": None,
        "rules": "~app:* +@all",
    }
    assert edit_of(APP, ProxyUser("app", is_nopass=True))["rules"] == ALL_RIGHTS


# What a file may say, and what may become of it once it was deleted and made anew.
WRITTEN = [
    "iam: true",
    "external: true",
    "nopass: true",
    f"passwords: [{{sha256: '{HASH}'}}]",
    "preset: admin",
]


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize(
    "now",
    [
        APP,
        BOB,
        ProxyUser("app"),
        ProxyUser("app", verified_by="iam"),
        ProxyUser("app", verified_by="external"),
    ],
)
@pytest.mark.parametrize("is_known", [True, False])
def test_what_is_written_is_read_again(written: str, now: ProxyUser, is_known: bool, tmp_path: Path) -> None:
    """Also where it came into the file after that was read."""
    now = replace(now, name="app")
    path = tmp_path / "users.yaml"
    path.write_text(f"- {{name: app, {written}}}\n")
    access = "{users_file: users.yaml, iam: {keys: /keys, region: eu-central-1}, verifier: {url: https://a.example}}"
    config = parse_config(CONFIG.replace("ACCESS", f"access: {access}"), str(tmp_path / "config.yaml"))

    def read() -> dict[str, ProxyUser]:
        files = FilesRead(tmp_path)
        return by_name(settings_read(config, "7.0.15", files=files)["main"])

    configured = read()
    known = configured if is_known else {}
    users_file_change(path, known, {"app": change_of(known.get("app"), now)})
    assert replace(read()["app"], session=0.0) == now


@pytest.mark.parametrize(
    ("user", "why"),
    [
        (ProxyUser("bob", passwords=tuple(f"{i:064x}" for i in range(101))), "passwords"),
        (ProxyUser("bob", rules="~" + "x" * 64_000), "rules"),
        (ProxyUser("bob", rules="+nosuchcommand"), "Unknown command"),
        (None, "names no user"),
    ],
)
def test_a_file_that_would_be_refused_is_not_written(
    user: ProxyUser | None, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "users.yaml"
    path.write_text("- {name: app}\n")
    with pytest.raises((ConfigError, UsersError), match=why):
        users_file_change(path, {}, {"bob" if user else "app": Change(user, None)})
    assert path.read_text() == "- {name: app}\n"


@pytest.mark.parametrize(
    ("modifiers", "why"),
    [
        ([f">{i}" for i in range(101)], "would have 101 passwords, not 100"),
        (["~" + "x" * 63_000, "~" + "y" * 1_000], "characters, not 64000"),
    ],
)
def test_a_user_does_not_become_what_no_file_may_say(modifiers: list[str], why: str) -> None:
    with pytest.raises(RuleError, match=why):
        user_changed(BOB, [word.encode() for word in ["resetpass", *modifiers]], rules_of_package())
    assert user_changed(BOB, [word.encode() for word in modifiers[:-1]], rules_of_package()) != BOB


async def test_a_kept_value_is_read_again(tmp_path: Path) -> None:
    kept = KeptFile(tmp_path / "state.json.users")
    assert kept.read() is None
    await kept.write({"a": 1})
    assert KeptFile(tmp_path / "state.json.users").read() == {"a": 1}
    assert (tmp_path / "state.json.users").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2, "kept": 1}', '{"format": 1}'])
def test_a_damaged_file_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text(text)
    with pytest.raises(StateFileError, match="is damaged"):
        KeptFile(tmp_path / "kept").read()
