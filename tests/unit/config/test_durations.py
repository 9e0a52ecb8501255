"""Durations and sizes: what people write, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from shardproxy.config.durations import MAX_DURATION, format_duration, parse_duration, parse_positive_duration
from shardproxy.config.sizes import MAX_SIZE, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("7 d", 7 * 86400.0),
        ("2S", 2.0),
        ("0s", 0.0),
        (0, 0.0),
        (3, 3.0),
        (0.25, 0.25),
    ],
)
def test_duration_is_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "-1s",
        "1m30s",
        "2 weeks",
        "1e3s",
        "٣s",
        -1,
        float("nan"),
        float("inf"),
        True,
        None,
        [],
        "400d",
    ],
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_duration(text)


@pytest.mark.parametrize("text", [0, "0s", "0.1ms"])
def test_a_deadline_is_never_zero(text: object) -> None:
    with pytest.raises(PydanticCustomError, match="at least 1ms"):
        parse_positive_duration(text)


@given(st.integers(0, int(MAX_DURATION) * 1000))
def test_durations_survive_being_written_and_read(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64mb", 64 << 20),
        ("512mib", 512 << 20),
        ("1gb", 1 << 30),
        ("1GiB", 1 << 30),
        ("16 kb", 16 << 10),
        ("1.5kb", 1536),
        ("10b", 10),
        (4096, 4096),
        (0, 0),
    ],
)
def test_size_is_bytes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "64", "64m", "mb", "-1kb", "1tb", -1, 1.5, True, None, "9999999999gb"])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_size(text)


@given(st.integers(0, MAX_SIZE))
def test_sizes_survive_being_written_and_read(size: int) -> None:
    assert parse_size(format_size(size)) == size
