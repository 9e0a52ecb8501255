"""Rules as those get at them who keep users; that they mean what Redis means is for tests/protocol."""

from __future__ import annotations

import pytest

from shardproxy.commands.table import Table
from shardproxy.dataplane._native import Acl

SECRET = "s3cret"
HASH_OF_FOO = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"


@pytest.fixture(scope="module")
def acl() -> Acl:
    return Acl(Table.load().encode())


def test_a_table_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not a command table"):
        Acl(b"{}")


@pytest.mark.parametrize(
    ("rules", "wrong"),
    [
        ("on ~app:* +@read (~tmp:* +@all)", None),
        ("on\n  ~app:*\n  +@read", None),
        ("+gte", "Error in ACL SETUSER modifier '+gte': Unknown command or category name in ACL"),
        ("(~a", "Unmatched parenthesis in acl selector starting at '(~a'."),
    ],
)
def test_what_is_wrong_is_said(acl: Acl, rules: str, wrong: str | None) -> None:
    assert acl.check(rules) == wrong


@pytest.mark.parametrize(
    "rules", [f"<{SECRET}", f"#{SECRET}", f"!{SECRET}", f"(>{SECRET})", f"(+get >{SECRET})"]
)
def test_no_password_is_said(acl: Acl, rules: str) -> None:
    wrong = acl.check(rules)
    assert wrong is not None
    assert SECRET not in wrong
    with pytest.raises(ValueError, match="Error in ACL SETUSER") as raised:
        acl.describe(rules)
    assert SECRET not in str(raised.value)


def test_names_that_may_be_learned_are_kept(acl: Acl) -> None:
    rules = "+get +json.get -@json +config|new"
    assert acl.check(rules) is not None
    assert acl.check(rules, keep_unknown=True) is None
    assert acl.check("+", keep_unknown=True) is not None
    assert acl.unknown(rules) == ["json.get", "@json", "config|new"]
    assert acl.apply(rules, [b"on", b"+ft.search"], keep_unknown=True).endswith(f"{rules} +ft.search")
    with pytest.raises(ValueError, match=r"'\+ft.search': Unknown command"):
        acl.apply(rules, [b"on", b"+ft.search"])
    for ordered in (True, False):
        assert acl.describe(rules, ordered)["commands"] == f"-@all {rules}"


def test_modifiers_change_a_user(acl: Acl) -> None:
    rules = acl.apply("", [b"on", b">foo", b"~a", b"+@all", b"(+get", b"~b)"])
    expected = "resetchannels +@all (~b resetchannels -@all +get)"
    assert rules == f"on #{HASH_OF_FOO} ~a {expected}"
    rules = acl.apply(rules, [b"nopass", b"resetkeys", b"-debug", b"clearselectors"])
    assert rules == "on nopass resetchannels +@all -debug"
    with pytest.raises(ValueError, match="Syntax error"):
        acl.apply(rules, [b"~\xff"])


def test_a_user_is_described(acl: Acl) -> None:
    user = acl.describe(f"on #{HASH_OF_FOO} ~a %R~b* &news -@all +get +set -get (+@read)")
    assert (user["enabled"], user["nopass"]) == (True, False)
    assert (user["flags"], user["passwords"]) == (["on"], [HASH_OF_FOO])
    assert (user["keys"], user["channels"], user["commands"]) == ("~a %R~b*", "&news", "-@all +set -get")
    assert user["selectors"] == [{"commands": "-@all +@read", "keys": "", "channels": ""}]
    assert user["rules"] == "~a %R~b* resetchannels &news -@all +set -get (resetchannels -@all +@read)"
    assert user["line"] == f"on #{HASH_OF_FOO} {user['rules']}"
    assert acl.describe(user["line"], ordered=False)["commands"] == "-@all +set"


def test_requests_are_tried_out(acl: Acl) -> None:
    rules = "+get +publish ~a &n"
    assert acl.dryrun(rules, [b"GET", b"a"]) is None
    assert acl.dryrun(rules, [b"CLIENT", b"id"]) == ("command", b"client|id")
    assert acl.dryrun(rules, [b"GET", b"\xff"]) == ("key", b"\xff")
    assert acl.dryrun(rules, [b"PUBLISH", b"m", b""]) == ("channel", b"m")
    for args, why in [
        ([b"x", b"y"], "Command 'x' not found"),
        ([b"get"], "wrong number of arguments for 'get'"),
    ]:
        with pytest.raises(ValueError, match=why):
            acl.dryrun(rules, args)
    with pytest.raises(ValueError, match="Command '' not found"):
        acl.dryrun(rules, [])
