"""Patterns find the parts of keys, as the data plane finds those of key families."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.caching.matching import pattern_regex
from shardproxy.config.patterns import PARTS, set_ranges


def parts(pattern: str, key: bytes) -> dict[str, bytes] | None:
    found = pattern_regex(pattern).fullmatch(key)
    return None if found is None else found.groupdict()


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("user:{id}:profile", b"user:42:profile", {"id": b"42"}),
        ("user:{id}:profile", b"user::profile", None),
        ("user:{id}:profile", b"user:a:b:profile", {"id": b"a:b"}),
        ("user:{id}:profile", b"user:42:profile2", None),
        ("user:{id}:profile", b"xuser:42:profile", None),
        ("bull:{queue}:*", b"bull:mail:wait", {"queue": b"mail"}),
        ("bull:{queue}:*", b"bull:mail:", {"queue": b"mail"}),
        ("bull:{queue}:*", b"bull:mail:de:a", {"queue": b"mail"}),
        ("bull:{queue}:*", b"bull::wait:x", {"queue": b":wait"}),
        ("bull:{queue}:*", b"bull:mail", None),
        ("{id}.[jts]", b"a.b.j", {"id": b"a.b"}),
        ("{id}.[jts]", b"a.b.x", None),
        ("{a}:{b}:{c}", b"1:2:3:4", {"a": b"1", "b": b"2", "c": b"3:4"}),
        ("a*b{c}d", b"axbxbyddd", {"c": b"xbydd"}),
        ("{all}", b"any\nthing", {"all": b"any\nthing"}),
        ("*", b"", {}),
        ("plain", b"plain", {}),
        ("plain", b"plainer", None),
        ("é{x}", "é1".encode(), {"x": b"1"}),
        ("a.b+c{x}", b"a.b+c1", {"x": b"1"}),
        ("a.b+c{x}", b"aXbbc1", None),
        ("[-a]{x}", b"-1", {"x": b"1"}),
        ("[[]{x}]", b"[1]", {"x": b"1"}),
    ],
)
def test_parts_are_found(pattern: str, key: bytes, expected: dict[str, bytes] | None) -> None:
    assert parts(pattern, key) == expected


Step = tuple[str, str]
STEPS = st.lists(
    st.sampled_from([("text", "a"), ("text", "ab"), ("set", "ab"), ("any", "*"), ("name", "{}")]), max_size=7
)


@given(STEPS, st.text(alphabet="abc", max_size=14))
def test_every_match_is_found_and_no_other(steps: list[Step], key: str) -> None:
    """As by trying every length of every part, the shortest first."""
    pattern = ""
    for i, (kind, text) in enumerate(steps):
        if kind in ("any", "name") and i and steps[i - 1][0] in ("any", "name"):
            return
        pattern += {"set": f"[{text}]", "name": f"{{n{i}}}"}.get(kind, text)
    found = parts(pattern, key.encode())
    plain = plainly(steps, key)
    expected = None if plain is None else {f"n{i}": part.encode() for i, part in plain.items()}
    assert found == expected


def plainly(steps: list[Step], key: str, at: int = 0) -> dict[int, str] | None:
    if at == len(steps):
        return {} if not key else None
    kind, text = steps[at]
    if kind == "text":
        return plainly(steps, key[len(text) :], at + 1) if key.startswith(text) else None
    if kind == "set":
        return plainly(steps, key[1:], at + 1) if key and key[0] in text else None
    for length in range(int(kind == "name"), len(key) + 1):
        if (rest := plainly(steps, key[length:], at + 1)) is not None:
            return {at: key[:length], **rest} if kind == "name" else rest
    return None


def test_a_key_that_nearly_matches_takes_no_longer_than_it_is_long() -> None:
    pattern = "".join(f"{{p{i}}}:a" for i in range(20)) + "b"
    assert parts(pattern, b"x:a" * 20_000) is None  # by trying all lengths it would not end in a year


def test_the_pieces_of_a_pattern_are_all_of_it() -> None:
    text = "a*{b}[c-e]f"
    assert "".join(part[0] for part in PARTS.finditer(text)) == text
    assert list(set_ranges("a-c_x")) == [("a", "c"), ("_", "_"), ("x", "x")]
