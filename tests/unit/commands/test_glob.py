"""Patterns match as in util.c of Redis (stringmatchlen)."""

from __future__ import annotations

import pytest

from shardproxy.commands.glob import glob_pattern, matches


@pytest.mark.parametrize(
    ("pattern", "word", "is_match"),
    [
        ("*", "", True),
        ("", "", True),
        ("", "a", False),
        ("a*c", "abbc", True),
        ("a***c", "ac", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("h[ae]llo", "hello", True),
        ("h[ae]llo", "hillo", False),
        ("h[^e]llo", "hallo", True),
        ("h[^e]llo", "hello", False),
        ("[a-c]", "b", True),
        ("[c-a]", "b", True),
        ("[a-c]", "d", False),
        (r"[\]]", "]", True),
        (r"\*", "*", True),
        (r"\*", "x", False),
        ("a.c", "abc", False),
        ("(", "(", True),
        ("[", "a", False),
        ("[ab", "b", True),
        ("A", "a", False),
        ("news.*", "news.\n1", True),
    ],
)
def test_pattern_matches(pattern: str, word: str, is_match: bool) -> None:
    assert matches(pattern.encode(), word.encode()) is is_match


def test_case_may_be_ignored() -> None:
    assert glob_pattern(b"GE[T]", ignores_case=True).fullmatch(b"get")
