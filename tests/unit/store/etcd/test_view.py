"""The view is what etcd holds, whatever order answers and watch come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.store.etcd.errors import DataLostError
from shardproxy.store.etcd.messages import Entry
from shardproxy.store.etcd.view import View


def entry(key: str, revision: int, value: bytes | None = b"x") -> Entry:
    return Entry(key, value, revision)


def shown(view: View) -> dict[str, int]:
    return {one.key: one.revision for one in view}


def test_what_is_late_changes_nothing() -> None:
    view = View()
    assert view.apply_own(entry("a", 5)) == [entry("a", 5)]
    assert view.apply([entry("a", 3), entry("b", 4)]) == [entry("b", 4)]
    assert view.apply([entry("a", 5)]) == []
    assert view.apply_own(entry("b", 2)) == []
    assert shown(view) == {"a": 5, "b": 4}
    assert view.seen == 5


def test_what_this_process_deleted_does_not_come_back() -> None:
    view = View()
    view.apply([entry("a", 1)])
    view.apply_own(entry("a", 5, None))
    assert view.apply([entry("a", 3)]) == []
    assert [view.is_ahead, view.apply([entry("a", 5, None)]), view.is_ahead] == [True, [], False]
    assert view.apply([entry("a", 6)]) == [entry("a", 6)]


def test_an_answer_that_comes_after_the_watch_changes_nothing() -> None:
    view = View()
    view.apply([entry("a", 3), entry("a", 5, None)])
    assert view.apply_own(entry("a", 4)) == []
    assert shown(view) == {}


def test_all_that_is_read_again_replaces_what_was_there() -> None:
    view = View()
    view.apply([entry("a", 1), entry("b", 2), entry("c", 3)])
    view.apply_own(entry("d", 9))
    changed = view.replace({"a": entry("a", 1), "b": entry("b", 7), "e": entry("e", 8)}, 8)
    assert {(one.key, one.value) for one in changed} == {("b", b"x"), ("c", None), ("e", b"x")}
    assert shown(view) == {"a": 1, "b": 7, "d": 9, "e": 8}
    assert view.seen == 8


def test_a_key_that_is_older_than_it_was_is_lost_data() -> None:
    view = View()
    view.apply([entry("a", 5)])
    with pytest.raises(DataLostError, match="stop all proxies of this store"):
        view.replace({"a": entry("a", 4)}, 9)
    assert shown(view) == {"a": 5}


KEYS = "abc"


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.booleans(), st.booleans()), max_size=30), st.data())
def test_the_view_ends_as_etcd_is(steps: list[tuple[str, bool, bool]], data: st.DataObject) -> None:
    """Each step puts or deletes a key; some are this process's own, whose answers come at any time."""
    events: list[Entry] = []
    answers: list[Entry] = []
    stored: dict[str, int] = {}
    for revision, (key, is_put, is_own) in enumerate(steps, 1):
        if not is_put and key not in stored:
            continue
        event = entry(key, revision, b"x" if is_put else None)
        events.append(event)
        if is_own:
            answers.append(event)
        if is_put:
            stored[key] = revision
        else:
            del stored[key]
    view = View()
    told = 0
    while told < len(events) or answers:
        comes: int = data.draw(st.integers(-len(answers), 3).filter(bool))  # an answer, or so many events
        if comes < 0:
            view.apply_own(answers.pop(comes))
        else:
            view.apply(events[told : told + comes])
            told = min(told + comes, len(events))
    assert shown(view) == stored
    assert not view.is_ahead
