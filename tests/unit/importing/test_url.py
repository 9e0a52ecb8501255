"""URLs of somebody else's Redis: what they mean, and what is refused without telling a password."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardproxy.importing.errors import ForeignError
from shardproxy.importing.url import Foreign, shown
from shardproxy.model import Address

HOST = Address("old", 6379)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://old", Foreign((HOST,))),
        ("redis://old:7000/3", Foreign((Address("old", 7000),), database=3)),
        ("redis://[::1]", Foreign((Address("::1", 6379),))),
        ("redis://a,b:7001", Foreign((Address("a", 6379), Address("b", 7001)))),
        ("redis://eve:p%40ss@old", Foreign((HOST,), user="eve", password="p@ss")),
        ("redis://:p@old", Foreign((HOST,), password="p")),
        (
            "rediss://old?ca_file=/ca&password_file=/pw",
            Foreign((HOST,), speaks_tls=True, ca_file="/ca", password_file="/pw"),
        ),
        ("sentinel://s1,s2:1/main", Foreign((Address("s1", 26379), Address("s2", 1)), name="main")),
        ("sentinels://s/main/2", Foreign((Address("s", 26379),), name="main", database=2, speaks_tls=True)),
        ("unix:/run/redis.sock", Foreign((Address(path="/run/redis.sock"),))),
    ],
)
def test_a_url_is_read(text: str, expected: Foreign) -> None:
    assert Foreign.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://old", "write redis://"),
        ("old:6379", "write redis://"),
        ("redis://", "expected host:port"),
        ("redis://old:70000", "the port must be a number"),
        ("redis://old:0", "port 0"),
        ("redis://old/x", "no number of a database"),
        ("redis://old/1/2", "one number of a database"),
        ("redis://old?color=red", "'color' is no option"),
        ("redis://old?password_file=pw", "absolute path"),
        ("redis://old?ca_file=/ca", "is of TLS"),
        ("redis://old?sentinel_user=x", "are of sentinel://"),
        ("rediss://old?cert_file=/c", "belong together"),
        ("sentinel://s1", "what do the Sentinels call it"),
        ("redis://[::1", "write redis://"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, why: str) -> None:
    with pytest.raises(ForeignError) as refused:
        Foreign.parse(text)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "redis://eve:hush@",
        "redis://eve:hush@old:x",
        "redis://eve:hush@old/z",
        "redis://eve:hush",
        "eve:hush@old",
    ],
)
def test_a_refusal_tells_no_password(text: str) -> None:
    with pytest.raises(ForeignError) as refused:
        Foreign.parse(text)
    assert "hush" not in str(refused.value)
    assert "eve" not in str(refused.value)


def test_a_password_shows_neither_in_text_nor_in_repr() -> None:
    foreign = Foreign.parse("redis://eve:hush@old")
    assert foreign.is_secret
    assert "hush" not in f"{foreign} {foreign!r}"


@pytest.mark.parametrize(
    "text", ["redis://a:1,b:2/3", "rediss://a:6379", "sentinel://s:26379/main", "unix:/run/redis.sock"]
)
def test_what_is_shown_can_be_read_again(text: str) -> None:
    assert str(Foreign.parse(text)) == text


@settings(deadline=None)
@given(st.text(alphabet="redis:/@?,[]&=%_file019~ ", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        foreign = Foreign.parse(text)
    except ForeignError:
        return
    assert Foreign.parse(str(foreign)).addresses == foreign.addresses
    assert shown(text)


signs = st.text(st.characters(codec="utf-8", exclude_characters="%"), max_size=8)
tails = st.sampled_from(["", "/0", "/x", "/1/2", "?ca_file=/x", "?color=red", ":x", ":70000", "#x", ",b:7"])


@settings(deadline=None, max_examples=1000)
@given(
    st.sampled_from(["redis", "rediss", "sentinel", "sentinels", "http", "unix", "REDIS", ""]),
    signs,
    signs,
    signs,
    tails,
)
def test_no_text_gives_its_password_away(scheme: str, user: str, before: str, after: str, tail: str) -> None:
    text = f"{scheme}://{user}:{before}hunter2{after}@old.example{tail}"
    assert "hunter2" not in shown(text)
    assert "hunter2" not in told(text)


def told(text: str) -> str:
    """All that is said of it."""
    try:
        foreign = Foreign.parse(text)
    except ForeignError as error:
        return str(error)
    assert foreign.is_secret
    return f"{foreign} {foreign!r}"
