"""What may be asked for: all that is kept is known, and of its kind."""

from __future__ import annotations

from typing import Any

import pytest

from shardproxy.importing.wants import ImportWants, RestoreWants
from shardproxy.jobs.interface import JobError
from shardproxy.jobs.wanted import MAX_RATE

RESTORE: dict[str, Any] = {"from": "/backups", "name": "nightly"}
IMPORT: dict[str, Any] = {"url": "redis://old"}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"password": "hunter2"}, "restore knows no 'password'"),
        ({"replace": 1}, "replace: send true or false"),
        ({"rdb": "x"}, "rdb: send a list of paths"),
        ({"rdb": ["/a\0b"]}, "rdb: send a list of paths"),
        ({"from": "/b\0"}, "from: send a text"),
    ],
)
def test_what_a_restore_does_not_know_is_refused(more: dict[str, Any], why: str) -> None:
    with pytest.raises(JobError, match=why) as caught:
        RestoreWants.read({**RESTORE, **more})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"password": "hunter2"}, "import knows no 'password'"),
        ({"rate": MAX_RATE + 1}, "rate: send a number of bytes a second up to"),
        ({"rate": 10**30}, "rate"),
        ({"rate": True}, "rate"),
        ({"rate": -1}, "rate"),
        ({"match": ["a"]}, "match: send a text"),
    ],
)
def test_what_an_import_does_not_know_is_refused(more: dict[str, Any], why: str) -> None:
    with pytest.raises(JobError, match=why) as caught:
        ImportWants.read({**IMPORT, **more})
    assert "hunter2" not in str(caught.value)


def test_what_is_kept_reads_as_what_was_asked() -> None:
    asked = ImportWants.read({**IMPORT, "rate": MAX_RATE, "match": "a*", "follow": True})
    assert ImportWants.read(asked.json()) == asked
    restored = RestoreWants.read({**RESTORE, "replace": True, "key_file": "/keys/k"})
    assert RestoreWants.read(restored.json()) == restored
