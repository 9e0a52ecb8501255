"""Users in the config: what they may say, what is wrong with them and where."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from shardproxy.config import ConfigError, Problem, parse_config
from shardproxy.config.access import ALL_RIGHTS, Access, Preset, User, hash_of
from shardproxy.config.files import FilesRead
from shardproxy.config.users import PlacedUser, UsersError, read_users_file, users_placed
from shardproxy.config.users_write import users_file_edit
from shardproxy.dataplane.rules import rules_of_package
from shardproxy.dataplane.users import ANYBODY, NOBODY, ProxyUser, access_spec, user_line
from shardproxy.topology.settings import SettingsError, settings_read

HASH = "5" * 64
TEXT = """\
clusters:
  main:
    engine: redis
    endpoints: {configuration: ENDPOINT}
    shards: [{nodes: ["127.0.0.1:6379"]}]
"""
POOL = """\
clusters:
  main:
    engine: memcached
    endpoints: {configuration: 127.0.0.1:11211}
    nodes: ["127.0.0.1:11311"]
"""


def file_of(access: str, endpoint: str = "127.0.0.1:7000", *, text: str = TEXT, top: str = "") -> str:
    """A config whose access is said in line 6."""
    return text.replace("ENDPOINT", endpoint) + (f"    access: {access}\n" if access else "") + top


def problems(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert "hunter2" not in str(caught.value)
    return list(caught.value.problems)


def served(text: str) -> tuple[ProxyUser, ...]:
    return settings_read(parse_config(text), "7.0.15")["main"].users


def reasons(text: str, directory: Path = Path()) -> list[str]:
    """What keeps it from being served, though it is well written."""
    config = parse_config(text, str(directory / "config.yaml"))
    with pytest.raises(SettingsError) as caught:
        settings_read(config, "7.0.15", files=FilesRead(directory))
    return [reason.removeprefix(f"{directory}/") for reason in caught.value.reasons]


def user(text: str) -> str:
    return f"{{users: [{text}]}}"


# --- what is right ---


def test_nobody_logs_in_where_nothing_is_said_on_loopback() -> None:
    assert served(file_of("")) == ()
    assert served(file_of("open", "0.0.0.0:7000")) == ()
    assert access_spec(()) is None
    assert access_spec((ANYBODY,)) is None


def test_a_user_is_served_with_hash_and_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OLD", "hunter2")
    (tmp_path / "new").write_text("hunter3\n")
    given = f"{{name: app, passwords: [{{env: OLD}}, {{file: {tmp_path}/new}}, {{sha256: '{HASH}'}}]"
    (app, default) = served(file_of(user(given + ", rules: on ~app:* +@read}")))
    assert app.passwords == (hash_of("hunter2"), hash_of("hunter3"), HASH)
    assert app.rules == "~app:* +@read"
    assert default == NOBODY, "who is not named cannot log in"
    assert "hunter2" not in repr(app)
    assert HASH not in repr(app)
    assert HASH not in repr(parse_config(file_of(user(given + "}"))))
    assert hash_of("hunter2") == hashlib.sha256(b"hunter2").hexdigest()


def test_a_token_alone_is_the_default_user() -> None:
    (default,) = served(file_of(user(f"{{name: default, passwords: {{sha256: '{HASH}'}}}}")))
    assert user_line(default) == f"on #{HASH} {ALL_RIGHTS}"


def test_rules_may_be_a_list() -> None:
    (app, _) = served(file_of(user('{name: app, rules: ["~a:*", "+@read -keys"]}')))
    assert app.rules == "~a:* +@read -keys"


def test_commands_of_modules_and_newer_engines_are_no_mistakes() -> None:
    (app, _) = served(file_of(user('{name: app, rules: "~* +@read +json.get -ft.search +hgetex +@search"}')))
    assert "+json.get" in app.rules


def test_a_disabled_user_and_a_user_of_iam() -> None:
    iam = "iam: {keys: /etc/keys.yaml, region: eu-central-1, session: 1h}, verifier: {url: https://a.example}"
    each = ("{name: a, enabled: false}", "{name: b, iam: true}", "{name: c, external: true}")
    users = f"[{', '.join(each)}, {{name: d, nopass: true}}]"
    found = {one.name: one for one in served(file_of(f"{{users: {users}, {iam}}}"))}
    assert not found["a"].is_enabled
    assert (found["b"].verified_by, found["b"].session) == ("iam", 3600.0)
    assert (found["c"].verified_by, found["c"].session) == ("external", 0.0)
    assert found["d"].is_nopass
    spec = access_spec(tuple(found.values()))
    assert spec is not None
    assert [one["verified"] for one in spec["users"]] == [False, True, True, False, False]


def test_groups_give_their_users(tmp_path: Path) -> None:
    top = "groups: [{name: team, users: [{name: x}, {name: y}]}, {name: ops, users: [{name: z}]}]\n"
    names = [one.name for one in served(file_of("{users: [{name: app}], groups: [team, ops]}", top=top))]
    assert names == ["app", "x", "y", "z", "default"]


def test_users_of_a_file_are_found_from_the_config(tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text(
        "- {name: app, preset: read-only}\n- name: default\n  nopass: true\n"
    )
    config = parse_config(file_of("{users_file: users.yaml}"), str(tmp_path / "config.yaml"))
    files = FilesRead(config.source.directory)
    users = settings_read(config, "7.0.15", files=files)["main"].users
    assert [one.name for one in users] == ["app", "default"]
    assert users[0].rules == Preset.READ_ONLY.rules
    assert list(files.seen) == [tmp_path / "users.yaml"]


@pytest.mark.parametrize("text", ["", "[]\n", "# nobody yet\n"])
def test_a_file_may_have_no_users(text: str, tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text(text)
    assert read_users_file(tmp_path / "users.yaml") == ()


def test_client_auth_is_one_user_in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    text = POOL + "    client_auth: {username: app, password: {env: SECRET}}\n"
    assert served(text) == (ProxyUser("app", passwords=(hash_of("hunter2"),)),)
    access = f"{{users: [{{name: app, passwords: [{{sha256: '{hash_of('hunter2')}'}}]}}]}}"
    assert served(file_of(access, text=POOL)) == served(text)


@pytest.mark.parametrize("preset", Preset)
def test_presets_are_rules(preset: Preset) -> None:
    rules_of_package().check(preset.rules)


@pytest.mark.parametrize(
    ("preset", "request_line", "denied"),
    [
        (Preset.READ_ONLY, "GET a", None),
        (Preset.READ_ONLY, "SET a b", "command"),
        (Preset.READ_ONLY, "KEYS *", "command"),
        (Preset.READ_ONLY, "SUBSCRIBE a", None),
        (Preset.READ_ONLY, "PUBLISH a b", "command"),
        (Preset.READ_ONLY, "INFO", None),
        (Preset.READ_ONLY, "CLIENT KILL a", "command"),
        (Preset.READ_ONLY, "CLIENT SETNAME a", None),
        (Preset.READ_ONLY, "CLUSTER SLOTS", None),
        (Preset.READ_ONLY, "CLUSTER RESET", "command"),
        (Preset.READ_ONLY, "ACL WHOAMI", None),
        (Preset.READ_ONLY, "ACL SETUSER a", "command"),
        (Preset.READ_WRITE, "SET a b", None),
        (Preset.READ_WRITE, "FLUSHALL", "command"),
        (Preset.READ_WRITE, "CONFIG SET a b", "command"),
        (Preset.READ_WRITE, "SORT a", None),
        (Preset.READ_WRITE, "EVAL a 0", "command"),
        (Preset.READ_WRITE, "ACL LIST", "command"),
        (Preset.ADMIN, "FLUSHALL", None),
        (Preset.ADMIN, "ACL SETUSER a", None),
    ],
)
def test_what_presets_allow(preset: Preset, request_line: str, denied: str | None) -> None:
    found = rules_of_package().why_denied(preset.rules, request_line.encode().split())
    assert (found and found[0]) == denied


# --- what is wrong ---


@pytest.mark.parametrize(
    ("endpoint", "is_own"),
    [
        ("127.0.0.1:7000", True),
        ("127.9.9.9:7000", True),
        ('"[::1]:7000"', True),
        ("localhost:7000", True),
        ("unix:/run/x.sock", True),
        ("0.0.0.0:7000", False),
        ('"[::]:7000"', False),
        ("10.0.0.5:7000", False),
        ("cache.example.com:7000", False),
        ("[127.0.0.1:7000, 10.0.0.5:7000]", False),
        ("{address: 10.0.0.5:7000}", False),
    ],
)
def test_other_machines_are_not_let_in_by_default(endpoint: str, is_own: bool) -> None:
    if is_own:
        assert parse_config(file_of("", endpoint)).clusters["main"].access is None
        return
    (problem,) = problems(file_of("", endpoint))
    assert problem.line == 4
    assert problem.path.startswith("clusters.main.endpoints.configuration")
    assert "is open to other machines, and nobody has to log in" in problem.message
    assert "access: open" in str(problem.hint)
    for access in ("open", "{inbound: [office]}", "{users: [{name: app}]}"):
        text = file_of(
            access, endpoint, top="security_groups: [{name: office, inbound: [{from: 10.0.0.0/8}]}]\n"
        )
        assert parse_config(text).clusters["main"].access is not None


def test_client_auth_says_who_may_use_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    auth = "    client_auth: {username: app, password: {env: SECRET}}\n"
    assert served(POOL.replace("127.0.0.1:11211", "0.0.0.0:11211") + auth)[0].name == "app"


LITERAL = "a password is never written in the config"
CASES = {
    "closed": ("no one", "access", "must be open or a mapping", "or open"),
    "empty": ("{}", "access", "names nobody", "access: open"),
    "no users": ("{users: []}", "access.users", "needs at least one entry", "name: app"),
    "literal": (
        user("{name: app, passwords: [hunter2]}"),
        "access.users[0].passwords[0]", LITERAL, "sha256sum",
    ),
    "literal alone": (
        user("{name: app, passwords: hunter2}"),
        "access.users[0].passwords", LITERAL, "sha256sum",
    ),
    "literal in rules": (
        user('{name: app, rules: "~* >hunter2"}'),
        "access.users[0].rules", "passwords do not", "",
    ),
    "no hash": (
        user("{name: a, passwords: [{sha256: hunter2}]}"),
        "access.users[0].passwords[0].sha256", "SHA-256", "64",
    ),
    "two places": (
        user("{name: a, passwords: [{env: A, file: /b}]}"),
        "access.users[0].passwords[0]", "exactly one", "",
    ),
    "rules and preset": (user('{name: a, rules: "~*", preset: admin}'), "access.users[0]", "not both", ""),
    "no preset": (
        user("{name: a, preset: readonly}"),
        "access.users[0].preset", "must be read-only", "read-only?",
    ),
    "iam and password": (
        user("{name: a, iam: true, passwords: [{env: A}]}"),
        "access.users[0]", "has no iam", "",
    ),
    "iam and external": (
        user("{name: a, iam: true, external: true}"),
        "access.users[0]", "has no external", "",
    ),
    "nopass and password": (
        user("{name: a, nopass: true, passwords: [{env: A}]}"),
        "access.users[0]", "no nopass", "",
    ),
    "off": (user("{name: a, rules: off}"), "access.users[0].rules", "switch a user off", ""),
    "off in text": (
        user('{name: a, rules: "off ~*"}'),
        "access.users[0].rules", "switch a user off", "enabled: false",
    ),
    "blank name": (user('{name: "a b"}'), "access.users[0].name", "cannot have spaces", ""),
    "no name": (user("{rules: '~*'}"), "access.users[0].name", "is missing", ""),
    "unknown key": (user("{name: a, rule: '~*'}"), "access.users[0].rule", "not a known key", "rules?"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_user_is_told_with_its_place(case: str) -> None:
    access, path, message, hint = CASES[case]
    found = [problem for problem in problems(file_of(access)) if problem.path == f"clusters.main.{path}"]
    assert found, problems(file_of(access))
    assert found[0].line == 6
    assert message in found[0].message
    assert hint in (found[0].hint or "")


def test_there_are_bounds() -> None:
    many = ", ".join(f"{{name: u{i}}}" for i in range(1001))
    (problem,) = problems(file_of(f"{{users: [{many}]}}"))
    assert "at most 1000" in problem.message
    groups = ", ".join(f"{{name: g{i}, users: [{{name: a}}]}}" for i in range(101))
    (problem,) = problems(file_of("", top=f"groups: [{groups}]\n"))
    assert "at most 100" in problem.message


def test_groups_have_one_name_each() -> None:
    groups = "groups: [{name: g, users: [{name: a}]}, {name: g, users: [{name: b}]}]\n"
    (problem,) = problems(file_of("", top=groups))
    assert (problem.path, problem.message) == (
        "groups[1].name",
        "'g' already names another group, at groups[0].name",
    )


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ("~app:* +gett", "'gett': Unknown command or category name in ACL (did you mean get?)"),
        ("+@reed", "'@reed': Unknown command or category name in ACL (did you mean @read?)"),
        ("app:*", "'app:*': Syntax error"),
        ("~* ~app:*", "'~app:*': Adding a pattern after the * pattern"),
        ("(~a +get", "Unmatched parenthesis"),
    ],
)
def test_rules_that_redis_refuses_are_told_with_their_place(rules: str, reason: str) -> None:
    text = file_of(user(f'{{name: app, rules: "{rules}"}}'))
    (found,) = reasons(text)
    column = text.splitlines()[5].index('"') + 1
    assert found.startswith(f"config.yaml:6:{column}: clusters.main.access.users[0].rules: ")
    assert reason in found


def test_names_are_told_apart_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text("# mine\n- {name: app}\n- {name: app, rules: +nope}\n")
    top = "groups: [{name: team, users: [{name: app}, {name: x, iam: true}]}]\n"
    found = reasons(
        file_of("{users: [{name: app}], users_file: users.yaml, groups: [team, other]}", top=top), tmp_path
    )
    already = f"'app' is a user of cluster main already (the first is in {tmp_path}/config.yaml, line 6)"
    hint = "add iam: {keys: ..., region: ...} to the access of cluster main"
    unknown = f"nothing says how IAM tokens are verified ({hint})"
    assert found == [
        "config.yaml:6:75: clusters.main.access.groups[1]: there is no group other (known: team)",
        f"users.yaml:2:10: [0].name: {already}",
        f"users.yaml:3:10: [1].name: {already}",
        f"config.yaml:7:38: groups[0].users[0].name: {already}",
        f"config.yaml:7:59: groups[0].users[1].iam: {unknown}",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "there is no such file"),
        ("users: []\n", "must be a list of users at the top"),
        ("- {name: app\n", "is not YAML"),
        ("- {name: app, rule: x}\n", "users.yaml:1:15: [0].rule: is not a known key (did you mean rules?)"),
        ("- {name: app}\n- {nam: b}\n", "users.yaml:2:3: [1].name: is missing"),
        ("- {name: app, passwords: [hunter2]}\n", "users.yaml:1:27: [0].passwords[0]: a password is never"),
        ("- {name: app}\n\n- {name: b, rules: +gte}\n", "users.yaml:3:20: [1].rules: 'gte': Unknown command"),
        ("- {name: app, passwords: [{file: /no/where}]}\n", "users.yaml:1:27: [0].passwords[0]: cannot read"),
    ],
)  # fmt: skip
def test_a_wrong_file_of_users_is_told_with_its_lines(text: str | None, reason: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "users.yaml").write_text(text)
    found = reasons(file_of("{users_file: users.yaml}"), tmp_path)
    assert any(reason in line for line in found), found
    assert "hunter2" not in str(found)


def test_too_many_users_together_are_refused() -> None:
    group = ", ".join(f"{{name: g{i}}}" for i in range(600))
    users = ", ".join(f"{{name: u{i}}}" for i in range(600))
    top = f"groups: [{{name: team, users: [{group}]}}]\n"
    (found,) = reasons(file_of(f"{{users: [{users}], groups: [team]}}", top=top))
    assert "cluster main has 1200 users, at most 1000 are possible" in found


@pytest.mark.parametrize("key", ["iam: true", "external: true"])
def test_memcached_knows_no_tokens(key: str) -> None:
    (found,) = reasons(file_of(user(f"{{name: app, {key}}}"), text=POOL))
    assert f"memcached knows no {key.partition(':')[0]}" in found


@pytest.mark.parametrize("more", ["iam: {keys: /a, region: a}", "verifier: {url: https://a.example}"])
def test_memcached_clients_log_in_with_passwords(more: str) -> None:
    (problem,) = problems(file_of(f"{{users: [{{name: app}}], {more}}}", text=POOL))
    assert "log in with passwords alone" in problem.message


def test_client_auth_and_access_say_the_same() -> None:
    auth = "    client_auth: {username: app, password: {env: SECRET}}\n"
    (problem,) = problems(file_of("{users: [{name: app}]}", text=POOL) + auth)
    assert "client_auth and access say the same" in problem.message


def test_every_user_is_found_where_it_stands() -> None:
    config = parse_config(file_of("{users: [{name: a}, {name: b}]}"))
    found = users_placed(config, "main", FilesRead())
    assert [(one.user, one.path[-1]) for one in found] == [(User(name="a"), 0), (User(name="b"), 1)]
    error = UsersError([PlacedUser(User(name="a"), config.source, found[1].path).problem(("name",), "no")])
    assert str(error) == "config:6:40: clusters.main.access.users[1].name: no"


def test_access_is_shown_as_it_is_written() -> None:
    for access in ("open", "{users: [{name: a}]}"):
        found = parse_config(file_of(access)).clusters["main"].access
        assert isinstance(found, Access)
        shown = found.model_dump(mode="json", exclude_unset=True)
        assert shown == ("open" if access == "open" else {"users": [{"name": "a"}]})


# --- files that are written ---

USERS = """\
# who may
- name: app # the shop
  passwords: [{file: /run/app}]
  preset: read-only
- {name: ops, passwords: [{sha256: "HASH"}]} # people
"""


def test_what_is_not_changed_stays_as_it_was_written() -> None:
    edited = users_file_edit(
        USERS, {"ops": {"rules": "~* +get", "passwords": None}, "new": {"enabled": False}}
    )
    assert edited.startswith(USERS[: USERS.index("- {name: ops")])
    assert "- {name: ops, rules: ~* +get} " in edited
    assert edited.endswith("- name: new\n  enabled: false\n")
    assert users_file_edit(USERS, {}) == USERS


def test_users_are_removed_from_a_file() -> None:
    assert "app" not in users_file_edit(USERS, {"app": None, "nobody": None})
    assert users_file_edit("", {"a": {"rules": "+get"}}) == "- name: a\n  rules: +get\n"
