"""Strangers that manage the same nodes."""

from __future__ import annotations

import pytest

from shardproxy.health.manager import Survey, manager_of
from shardproxy.wire.reply import Failure, Reply

ME = "shardproxy:abc"
NOBODY: Reply = [b"__sentinel__:hello", 0]
CLIENTS = b"id=1 addr=127.0.0.1:1 name=%b age=0\nid=2 addr=127.0.0.1:2 name= age=0\n"


@pytest.mark.parametrize(
    ("survey", "word"),
    [
        (Survey("standalone", NOBODY, CLIENTS % b""), None),
        (Survey("standalone", NOBODY, CLIENTS % b"shardproxy:abc"), None),
        (Survey("standalone", NOBODY, CLIENTS % b"shardproxy:xyz"), "shardproxy:xyz"),
        (Survey("standalone", [b"__sentinel__:hello", 3], b""), "Sentinel"),
        (Survey("cluster", NOBODY, b""), "Redis Cluster"),
        (Survey("standalone", Failure("NOPERM"), Failure("NOPERM")), None),
    ],
)
def test_a_foreign_manager_is_named(survey: Survey, word: str | None) -> None:
    found = manager_of(survey, ME)
    assert found is None if word is None else word in (found or "")
