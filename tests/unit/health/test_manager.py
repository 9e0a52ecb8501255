"""Strangers that manage the same nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.health.history import History, history_start
from shardproxy.health.manager import Survey, manager_in_force, manager_of
from shardproxy.wire.reply import Failure, Reply

GROUP = "abc"
NOBODY: Reply = [b"__sentinel__:hello", 0]
CLIENTS = b"id=1 addr=127.0.0.1:1 name=%b age=0\nid=2 addr=127.0.0.1:2 name= age=0\n"


@pytest.mark.parametrize(
    ("survey", "word"),
    [
        (Survey("standalone", NOBODY, CLIENTS % b""), None),
        (Survey("standalone", NOBODY, CLIENTS % b"shardproxy:abc"), None),
        (Survey("standalone", NOBODY, CLIENTS % b"shardproxy:xyz"), "shardproxy:xyz"),
        (Survey("standalone", NOBODY, CLIENTS % b"shardproxy-observer:abc"), None),
        (Survey("standalone", NOBODY, CLIENTS % b"shardproxy-observer:xyz"), None),  # it may not decide
        (Survey("standalone", [b"__sentinel__:hello", 3], b""), "Sentinel"),
        (Survey("cluster", NOBODY, b""), "Redis Cluster"),
        (Survey("standalone", Failure("NOPERM"), Failure("NOPERM")), None),
    ],
)
def test_a_foreign_manager_is_named(survey: Survey, word: str | None) -> None:
    found = manager_of(survey, GROUP)
    assert found is None if word is None else word in (found or "")


def surveyed(at: float, manager: str | None) -> History:
    return replace(history_start(0.0), surveyed_at=at, manager=manager)


@pytest.mark.parametrize(
    ("history", "others", "is_answering", "is_in_force"),
    [
        (surveyed(99.0, "Sentinel"), [], True, True),
        (surveyed(50.0, "Sentinel"), [], True, True),  # it is asked again soon
        (surveyed(99.0, None), [], False, False),
        (surveyed(99.0, "Sentinel"), [], False, True),  # it may be about to act
        (surveyed(89.0, "Sentinel"), [], False, False),  # it has had its time
        (surveyed(99.0, "Sentinel"), [surveyed(99.5, None)], False, False),  # it went away since
        (surveyed(99.0, "Sentinel"), [surveyed(98.5, None)], False, True),  # asked before: says nothing
        (surveyed(99.0, "Sentinel"), [surveyed(99.5, "Sentinel")], False, True),
        (surveyed(99.0, "Sentinel"), [history_start(0.0)], False, True),
    ],
)
def test_the_manager_of_a_node_that_is_gone_is_looked_for_on_the_others(
    history: History, others: list[History], is_answering: bool, is_in_force: bool
) -> None:
    found = manager_in_force(history, others, 100.0, is_answering=is_answering)
    assert found == ("Sentinel" if is_in_force else None)
