"""Requests are grouped by what they have in common, and only rules that hold for all of them are proposed."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from shardproxy.advice import study, verdict
from shardproxy.advice.patterns import Layout, pattern_of
from shardproxy.advice.study import Report, Study
from shardproxy.advice.verdict import Kind
from shardproxy.commands.table import Table

TABLE = Table.load()


def line(text: str, client: str = "10.0.0.1:5", db: int = 0) -> bytes:
    words = " ".join(f'"{word}"' for word in text.split())
    return f"1.2 [{db} {client}] {words}".encode()


def studied(*lines: str, families: Iterable[tuple[str, str]] = ()) -> Report:
    made = Study(TABLE, 3, list(families))
    for text in lines:
        client, _, words = text.rpartition("> ")
        made.take(line(words, client or "10.0.0.1:5"))
    return made.report()


def rules(report: Report) -> list[tuple[str, str]]:
    return [rule for cure in report.families for rule in cure.rules]


@pytest.mark.parametrize(
    ("key", "pattern"),
    [
        ("user:17:cart", "user:*:cart"),
        ("user17", "user*"),
        ("s:5f0c1d9e8a7b", "s:*"),
        ("job:1b4e28ba-2fa1-11d2-883f-0016d3cca427:x", "job:*:x"),
        ("plain:words:only", "plain:words:only"),
        ("a*b", "a*b"),
        ("{7}.x", "{*}.x"),
    ],
)
def test_numbers_and_ids_are_collapsed(key: str, pattern: str) -> None:
    assert pattern_of(key.encode()) == pattern


def test_many_names_in_one_place_are_collapsed_and_few_are_not() -> None:
    names = Layout(f"cart:{name}" for name in ("ann", "bob", "cid", "dan", "eve", "fay"))
    assert names.pattern("cart:gil") == "cart:*"
    assert Layout(f"user:{part}" for part in ("cart", "name")).pattern("user:cart") == "user:cart"


def test_keys_that_share_an_id_are_cured_by_it() -> None:
    report = studied(*(f"RENAME user:{n}:name user:{n}:old" for n in range(30)))
    (group,) = report.groups
    assert (group.count, group.patterns, group.is_cured) == (30, ("user:*:name", "user:*:old"), True)
    assert rules(report) == [("user:{id}:*", "{id}")]
    assert (
        studied(*(f"RENAME user:{n}:name user:{n}:old" for n in range(30)), families=rules(report)).groups
        == ()
    )


def test_the_part_that_is_shared_is_found_among_several() -> None:
    report = studied(*(f"SINTERSTORE out:{n}:{n % 7} a:{n % 5}:x:{n} b:{n}" for n in range(40)))
    assert sorted(rules(report)) == [("a:*:x:{id}", "{id}"), ("b:{id}", "{id}"), ("out:{id}:*", "{id}")]


def test_keys_that_share_nothing_are_kept_on_one_shard() -> None:
    report = studied("BLPOP high low 0", "RENAME seen:1 seen:2")
    assert {cure.is_whole for cure in report.families} == {True}
    assert all(group.is_cured for group in report.groups)
    assert studied("BLPOP high low 0", "RENAME seen:1 seen:2", families=rules(report)).groups == ()


def test_a_library_is_known_by_its_keys() -> None:
    lines = ["BRPOP queue:a queue:b 2", "MULTI", "SADD queues a", "LPUSH queue:a x", "EXEC"]
    assert [cure.preset for cure in studied(*lines).families] == ["sidekiq"]
    assert [cure.preset for cure in studied(lines[0]).families] == [None]


def test_a_transaction_is_judged_as_one() -> None:
    multi = ("MULTI", "SET a:1 x", "SET b:1 x", "EXEC")
    (group,) = studied(*multi).groups
    assert (group.finding.kind, group.finding.command, group.patterns) == (
        Kind.CROSSES,
        "MULTI … EXEC",
        ("a:*", "b:*"),
    )
    assert studied("MULTI", "SET a:1 x", "DISCARD", "SET b:1 x", "EXEC").groups == ()
    assert studied("MULTI", "2> MULTI", "SET a:1 x", "2> SET b:1 x", "EXEC", "2> EXEC").groups == ()
    (watched,) = studied("WATCH a", "MULTI", "SET b x", "EXEC").groups
    assert watched.finding.command == "WATCH, MULTI … EXEC"
    assert studied("WATCH a", "UNWATCH", "MULTI", "SET b x", "EXEC").groups == ()


def test_a_script_is_judged_by_what_it_touches() -> None:
    (undeclared,) = studied("EVAL s 0", "lua> get a").groups
    assert (undeclared.finding.kind, undeclared.cure, undeclared.advice) == (
        Kind.SCRIPT,
        None,
        "name all keys in KEYS",
    )
    (partly,) = studied("EVAL s 1 rate:5", "lua> get rate:5", "lua> get limit:5").groups
    assert partly.is_cured
    assert studied("EVAL s 1 a", "lua> get a", "GET b").groups == ()


def test_other_databases_are_counted_together() -> None:
    made = Study(TABLE, 3)
    for _ in range(3):
        made.take(line("GET a", db=2))
    (group,) = made.report().groups
    assert (group.finding.command, group.count) == ("(all in database 2)", 3)


def test_everything_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "GROUPS", 3)
    monkeypatch.setattr(verdict, "CONNECTIONS", 2)
    made = Study(TABLE, 3)
    for n in range(9):
        made.take(line(f"RENAME {'abcdefghi'[n]}x {'abcdefghi'[n]}y", f"10.0.0.{n}:5"))
    report = made.report()
    assert (len(report.groups), report.uncounted, report.commands) == (3, 6, 9)
    made.take(b"nonsense")
    made.skip(5)
    assert made.report().unread == 6


def test_what_is_watched_counts_once_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    (watched,) = studied("WATCH a", "WATCH a", "WATCH b").groups
    assert watched.finding.keys == (b"a", b"b")
    monkeypatch.setattr(verdict, "QUEUED", 3)
    watches = [f"WATCH {{a}}{number}" for number in range(9)]
    (group,) = studied(*watches, "MULTI", "SET b x", "EXEC").groups
    assert group.finding.keys == (b"{a}0", b"{a}1", b"{a}2", b"b")
