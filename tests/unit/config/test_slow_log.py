"""What may be said of the slow log and of spans."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shardproxy.config.slow_log import SlowLog
from shardproxy.config.telemetry import Otlp


@pytest.mark.parametrize(
    ("threshold", "seconds"), [("10ms", 0.01), (0, 0.0), ("off", None), (False, None), (1.5, 1.5)]
)
def test_a_threshold_is_a_duration_or_off(threshold: Any, seconds: float | None) -> None:
    log = SlowLog.model_validate({"threshold": threshold})
    assert log.threshold == seconds
    assert SlowLog.model_validate(log.model_dump(mode="json")) == log


@pytest.mark.parametrize(
    "wrong", [{"threshold": "soon"}, {"threshold": True}, {"entries": 0}, {"entries": 5000}, {"values": 3}]
)
def test_what_it_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SlowLog.model_validate(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "127.0.0.1:4318"},
        {"endpoint": "http://user:password@127.0.0.1:4318"},
        {"endpoint": "http://h:1", "sample": 0},
        {"endpoint": "http://h:1", "sample": 2},
        {"endpoint": "http://h:1", "queue": 0},
        {"endpoint": "http://h:1", "headers": {"authorization": "Bearer hush"}},
    ],
)
def test_what_a_collector_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Otlp.model_validate(wrong)


def test_headers_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hush")
    otlp = Otlp.model_validate({"endpoint": "http://h:1", "headers": {"Authorization": {"env": "TOKEN"}}})
    assert otlp.header_values() == {"authorization": "hush"}
    assert "hush" not in repr(otlp)
