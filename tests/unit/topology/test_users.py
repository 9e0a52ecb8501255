"""Users that were changed: how long a change holds, and what is written of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
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
from shardproxy.store.memory import MemoryNotes
from shardproxy.store.notes import NoteKey, NoteKind
from shardproxy.topology.reload import Clusters, ServeError
from shardproxy.topology.settings import SettingsError, settings_read
from shardproxy.topology.user_changes import (
    Change,
    Changes,
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
from shardproxy.topology.users import UserBook, UserChangeError
from shardproxy.topology.users_file import users_file_change

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
    written = json.loads(json.dumps(changes_encode(changes)))
    assert changes_decode(written) == changes


def test_what_a_newer_version_kept_besides_is_left_out() -> None:
    written = json.loads(json.dumps(changes_encode({"app": change_of(APP, OFF)})))
    written["app"]["user"]["tomorrow"] = 1
    written["app"]["base"]["tomorrow"] = "0"
    written["app"]["tomorrow"] = {}
    assert changes_decode(written) == {"app": change_of(APP, OFF)}


async def test_void_changes_are_noted_and_those_of_a_cluster_that_is_gone_are_not() -> None:
    """Another proxy may serve that one."""
    config = parse_config(CONFIG.replace("ACCESS", "access: {users: [{name: app}]}"))
    settings = settings_read(config, "7.0.15")
    app, audit, site = ProxyUser("app"), Audit("stdout"), Site()
    changes = {
        "main": {"app": change_of(app, replace(app, rules="+get"))},
        "gone": {"bob": change_of(None, BOB)},
    }
    for cluster, of in changes.items():
        await site.note(cluster, of)
    book = UserBook(site.notebook, site.serve, site.reread, audit)
    book.laid_over(settings)
    await book.take(config, settings)
    assert not audit.lines()
    assert site.noted() == changes
    assert {user.name: user.rules for user in book.users("main")}["app"] == "+get"
    newer = parse_config(CONFIG.replace("ACCESS", "access: {users: [{name: app, rules: +set}]}"))
    with capture_logs() as log:
        await book.take(newer, settings_read(newer, "7.0.15"))
    assert [(line["log_level"], line["users"]) for line in log] == [("warning", ["app (rules)"])]
    (noted,) = map(json.loads, audit.lines())
    assert (noted["event"], noted["cluster"]) == ("user_changes_void", "main")
    assert noted["object"] == "app (rules)"
    assert site.noted() == {"gone": changes["gone"]}


class Site:
    """Notes that several proxies share, and what this one serves last."""

    def __init__(self, notebook: MemoryNotes | None = None) -> None:
        self.notebook = notebook or MemoryNotes()
        self.served: Clusters = {}
        self.fails = False

    async def note(self, cluster: str, changes: Changes) -> None:
        await self.notebook.note(NoteKey(cluster, NoteKind.USERS), changes_encode(changes))

    def noted(self) -> dict[str, Changes]:
        return {key.cluster: changes_decode(note.value) for key, note in self.notebook.notes.items()}

    def users(self) -> set[str]:
        return names(self.served["main"].users or ())

    async def serve(self, clusters: Clusters, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise ServeError("main", OSError(98, "in use"))
        self.served = clusters

    async def reread(self, cluster: str) -> None:
        raise NotImplementedError


def names(users: Iterable[ProxyUser]) -> set[str]:
    return {user.name for user in users} - {"default"}


@asynccontextmanager
async def proxies(count: int) -> AsyncIterator[list[tuple[UserBook, Site]]]:
    """Several that share notes, each serving the same config."""
    notebook = MemoryNotes()
    config = parse_config(CONFIG.replace("ACCESS", "access: {users: [{name: app}]}"))
    made = []
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            site = Site(notebook)
            book = UserBook(notebook, site.serve, site.reread)
            settings = settings_read(config, "7.0.15")
            site.served = book.laid_over(settings)
            await book.take(config, settings)
            await nursery.start(book.run)
            made.append((book, site))
        yield made
        nursery.cancel_scope.cancel()


async def test_a_change_at_one_proxy_is_served_by_all() -> None:
    async with proxies(2) as ((one, here), (two, there)):
        await one.change("main", lambda users: {"bob": BOB}, "admin")
        assert here.users() == {"app", "bob"}
        await trio.testing.wait_all_tasks_blocked()
        assert there.users() == {"app", "bob"}
        await two.change("main", lambda users: {"app": None}, "admin")
        await trio.testing.wait_all_tasks_blocked()
        assert here.users() == there.users() == {"bob"}
        await one.change("main", lambda users: {"bob": None, "app": ProxyUser("app")}, "admin")
        assert not here.notebook.notes, "nothing differs from the config any more"
        await trio.testing.wait_all_tasks_blocked()
        assert there.users() == {"app"}


async def test_of_changes_at_the_same_moment_none_is_lost() -> None:
    async with proxies(3) as made:
        async with trio.open_nursery() as nursery:
            for number, (book, _) in enumerate(made):
                for each in range(3):
                    name = f"u{number}{each}"
                    nursery.start_soon(book.change, "main", partial(_add, name), "admin")
        await trio.testing.wait_all_tasks_blocked()
        for _, site in made:
            assert site.users() == {"app", *(f"u{number}{each}" for number in range(3) for each in range(3))}


def _add(name: str, users: Mapping[str, ProxyUser]) -> Mapping[str, ProxyUser]:
    return {name: ProxyUser(name)}


async def test_a_change_that_is_not_served_is_not_kept() -> None:
    async with proxies(2) as ((one, here), (_, there)):
        here.fails = True
        with pytest.raises(UserChangeError, match="in use"):
            await one.change("main", lambda users: {"bob": BOB}, "admin")
        assert not here.notebook.notes
        await trio.testing.wait_all_tasks_blocked()
        assert there.users() == {"app"}


async def test_what_another_proxy_changed_is_tried_until_it_is_served(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with capture_logs() as log:
        async with proxies(2) as ((one, _), (two, there)):
            there.fails = True
            await one.change("main", lambda users: {"bob": BOB}, "admin")
            await trio.sleep(3.5)
            assert names(two.users("main")) == {"app"}
            there.fails = False
            await trio.sleep(1.5)
            assert there.users() == {"app", "bob"}
    assert [line["event"] for line in log if line["log_level"] == "error"] == [
        "users that were changed elsewhere are not served"
    ]


async def test_changes_on_record_that_cannot_be_understood_stop_the_start() -> None:
    site = Site()
    await site.notebook.note(NoteKey("main", NoteKind.USERS), {"bob": 1})
    config = parse_config(CONFIG.replace("ACCESS", "access: {users: [{name: app}]}"))
    book = UserBook(site.notebook, site.serve, site.reread)
    with pytest.raises(SettingsError, match="changes of users: those of cluster main on record are damaged"):
        book.laid_over(settings_read(config, "7.0.15"))


@pytest.mark.parametrize(
    "value",
    [1, {"a": 1}, {"a": {"user": {"name": "a"}}}, {"a": {}}],
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
