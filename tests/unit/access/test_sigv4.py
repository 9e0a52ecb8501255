"""IAM tokens: what real signers make is accepted, and nothing else is."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shardproxy.access.sigv4 import (
    MAX_TOKEN,
    Expected,
    Fault,
    Signer,
    TokenError,
    is_signed_with,
    token_make,
    token_read,
    why_not_meant,
)
from tests.unit.access.tokens import CLUSTER, KEY_ID, NOW, REGION, SECRET, SESSION, USER, java, token_of

TOKEN = token_of()
EXPECTED = Expected(CLUSTER, USER.encode(), NOW, REGION)


def judge(token: bytes, expected: Expected = EXPECTED, secret: str = SECRET) -> Fault | None:
    """Why a token is refused, as far as a signature can tell; None = it is good."""
    try:
        read = token_read(token)
    except TokenError as error:
        return error.fault
    if (fault := why_not_meant(read, expected)) is not None:
        return fault
    return None if is_signed_with(read, secret) and read.access_key_id == KEY_ID else Fault.SIGNATURE


def at(seconds: float) -> Expected:
    return replace(EXPECTED, now=NOW + seconds)


@pytest.mark.parametrize("service", ["elasticache", "memorydb"])
@pytest.mark.parametrize("session", [None, SESSION])
@pytest.mark.parametrize("is_serverless", [False, True])
def test_what_botocore_signs_is_accepted(service: str, session: str | None, is_serverless: bool) -> None:
    token = token_of(service=service, session=session, is_serverless=is_serverless)
    assert judge(token, replace(EXPECTED, service=service, is_serverless=is_serverless)) is None
    read = token_read(token)
    assert (read.host, read.user, read.access_key_id) == (CLUSTER, USER.encode(), KEY_ID)
    assert (read.scope.region, read.scope.service) == (REGION, service)
    assert read.session_token == (session.encode() if session else None)
    assert read.is_serverless is is_serverless


@pytest.mark.parametrize("user", ["a b", "ü+&=%?/#", "~!*'()", "x" * 200])
@pytest.mark.parametrize("maker", ["botocore", "java 1", "java 2"])
def test_every_name_survives_its_encoding(maker: str, user: str) -> None:
    token = token_of(user=user) if maker == "botocore" else java(user=user, is_second=maker == "java 2")
    assert judge(token, replace(EXPECTED, user=user.encode())) is None


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("is_second", [False, True])
def test_what_java_signs_is_accepted_in_any_order(seed: int, is_second: bool) -> None:
    assert judge(java(seed, is_second=is_second, session=SESSION)) is None


@pytest.mark.parametrize("session", [None, SESSION])
@pytest.mark.parametrize("is_serverless", [False, True])
@pytest.mark.parametrize("service", ["elasticache", "memorydb"])
def test_our_tokens_are_those_of_botocore(service: str, session: str | None, is_serverless: bool) -> None:
    signer = Signer(USER, CLUSTER, REGION, KEY_ID, SECRET, session, service, is_serverless)
    ours = token_make(signer, NOW)
    theirs = token_of(service=service, session=session, is_serverless=is_serverless).decode()
    assert sorted(ours.partition("?")[2].split("&")) == sorted(theirs.partition("?")[2].split("&"))
    assert ours.partition("?")[0] == theirs.partition("?")[0]
    assert judge(ours.encode(), replace(EXPECTED, service=service, is_serverless=is_serverless)) is None


def test_a_name_in_capitals_is_the_same_cluster() -> None:
    assert judge(token_of(cluster="My-Cache")) is None
    assert judge(TOKEN, replace(EXPECTED, host="MY-CACHE")) is None


def test_escapes_in_small_letters_are_the_same() -> None:
    assert judge(TOKEN.replace(b"%2F", b"%2f")) is None


# --- attacks ---


def swapped(name: bytes, value: bytes) -> bytes:
    """The token with another value of a parameter, and the signature of before."""
    head, _, query = TOKEN.partition(b"?")
    pairs = [pair.split(b"=", 1) for pair in query.split(b"&")]
    return head + b"?" + b"&".join(n + b"=" + (value if n == name else v) for n, v in pairs)


def without(name: bytes) -> bytes:
    head, _, query = TOKEN.partition(b"?")
    return head + b"?" + b"&".join(p for p in query.split(b"&") if not p.startswith(name + b"="))


def credential(scope: bytes) -> bytes:
    return swapped(b"X-Amz-Credential", KEY_ID.encode() + b"%2F" + scope.replace(b"/", b"%2F"))


ATTACKS: dict[str, tuple[bytes, Fault]] = {
    "another host": (TOKEN.replace(b"my-cache", b"my-cachf", 1), Fault.HOST),
    "a host with a port": (TOKEN.replace(b"my-cache", b"my-cache:443", 1), Fault.MALFORMED),
    "a scheme": (b"https://" + TOKEN, Fault.MALFORMED),
    "a path": (TOKEN.replace(b"/?", b"/x/?", 1), Fault.MALFORMED),
    "no path": (TOKEN.replace(b"/?", b"?", 1), Fault.MALFORMED),
    "another user": (swapped(b"User", b"iam-user-02"), Fault.USER),
    "no user": (swapped(b"User", b""), Fault.INCOMPLETE),
    "another action": (swapped(b"Action", b"Connect"), Fault.ACTION),
    "another algorithm": (swapped(b"X-Amz-Algorithm", b"AWS4-HMAC-SHA1"), Fault.ALGORITHM),
    "no algorithm": (swapped(b"X-Amz-Algorithm", b"none"), Fault.ALGORITHM),
    "more signed headers": (swapped(b"X-Amz-SignedHeaders", b"host%3Bx-evil"), Fault.HEADERS),
    "no signed headers": (swapped(b"X-Amz-SignedHeaders", b""), Fault.INCOMPLETE),
    "another day": (swapped(b"X-Amz-Date", b"20261124T061837Z"), Fault.SCOPE),
    "another second": (swapped(b"X-Amz-Date", b"20261123T061838Z"), Fault.SIGNATURE),
    "a day that is none": (swapped(b"X-Amz-Date", b"20261332T061837Z"), Fault.DATE),
    "digits of another script": (swapped(b"X-Amz-Date", b"%D9%A20261123T061837Z"), Fault.DATE),
    "another day in the scope": (credential(b"20261124/us-east-1/elasticache/aws4_request"), Fault.SCOPE),
    "another region": (credential(b"20261123/us-east-2/elasticache/aws4_request"), Fault.REGION),
    "another service": (credential(b"20261123/us-east-1/s3/aws4_request"), Fault.SERVICE),
    "a related service": (credential(b"20261123/us-east-1/memorydb/aws4_request"), Fault.SERVICE),
    "another terminator": (credential(b"20261123/us-east-1/elasticache/aws5_request"), Fault.SCOPE),
    "a short scope": (credential(b"20261123/us-east-1/elasticache"), Fault.SCOPE),
    "a long scope": (credential(b"x/20261123/us-east-1/elasticache/aws4_request"), Fault.SCOPE),
    "an empty region": (credential(b"20261123//elasticache/aws4_request"), Fault.SCOPE),
    "a longer life": (swapped(b"X-Amz-Expires", b"901"), Fault.LIFETIME),
    "a shorter life": (swapped(b"X-Amz-Expires", b"899"), Fault.SIGNATURE),
    "no life": (swapped(b"X-Amz-Expires", b"0"), Fault.LIFETIME),
    "a negative life": (swapped(b"X-Amz-Expires", b"-900"), Fault.LIFETIME),
    "a fractional life": (swapped(b"X-Amz-Expires", b"9e2"), Fault.LIFETIME),
    "an endless life": (swapped(b"X-Amz-Expires", b"9" * 1000), Fault.LIFETIME),
    "a session token that was not signed": (TOKEN + b"&X-Amz-Security-Token=x", Fault.SIGNATURE),
    "a resource type that was not signed": (TOKEN + b"&ResourceType=ServerlessCache", Fault.SERVERLESS),
    "another resource type": (TOKEN + b"&ResourceType=Node", Fault.RESOURCE_TYPE),
    "a parameter that was not signed": (TOKEN + b"&x=y", Fault.SIGNATURE),
    "a signature in capitals": (
        TOKEN[:-64] + TOKEN[-64:].upper(),
        Fault.SIGNATURE,
    ),
    "half a signature": (TOKEN[:-32], Fault.SIGNATURE),
    "a signature of zeros": (TOKEN[:-64] + b"0" * 64, Fault.SIGNATURE),
    "a second signature": (TOKEN + b"&X-Amz-Signature=" + TOKEN[-64:], Fault.REPEATED),
    "a second user": (TOKEN + b"&User=iam-user-02", Fault.REPEATED),
    "the same user twice": (TOKEN + b"&User=" + USER.encode(), Fault.REPEATED),
    "a name in disguise twice": (TOKEN + b"&%55ser=iam-user-02", Fault.REPEATED),
    "a name in another case": (swapped(b"User", b"x").replace(b"User=", b"user="), Fault.INCOMPLETE),
    "an empty parameter": (TOKEN + b"&", Fault.MALFORMED),
    "a parameter without a value": (TOKEN + b"&x", Fault.MALFORMED),
    "a value without a name": (TOKEN + b"&=x", Fault.MALFORMED),
    "half an escape": (TOKEN + b"&x=%2", Fault.MALFORMED),
    "an escape that is none": (TOKEN + b"&x=%zz", Fault.MALFORMED),
    "a fragment": (TOKEN + b"#x", Fault.MALFORMED),
    "a line break": (TOKEN + b"\n", Fault.MALFORMED),
    "a zero byte": (TOKEN + b"\0", Fault.MALFORMED),
    "a letter beyond ASCII": (TOKEN + b"&x=\xff", Fault.MALFORMED),
    "very many parameters": (TOKEN + b"".join(b"&x%d=y" % n for n in range(40)), Fault.MALFORMED),
    "too long a token": (TOKEN + b"&x=" + b"y" * MAX_TOKEN, Fault.TOO_LONG),
    "a password": (b"hunter2", Fault.MALFORMED),
    "nothing": (b"", Fault.MALFORMED),
    "no parameters": (b"my-cache/?", Fault.MALFORMED),
    **{
        f"without {name.decode()}": (without(name), Fault.INCOMPLETE)
        for name in (
            b"Action",
            b"User",
            b"X-Amz-Algorithm",
            b"X-Amz-Credential",
            b"X-Amz-Date",
            b"X-Amz-Expires",
            b"X-Amz-SignedHeaders",
            b"X-Amz-Signature",
        )
    },
}


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_an_attack_is_refused(attack: str) -> None:
    token, fault = ATTACKS[attack]
    assert token != TOKEN
    assert judge(token) is fault


@pytest.mark.parametrize(
    ("expected", "fault"),
    [
        (at(0), None),
        (at(-300), None),
        (at(-301), Fault.FUTURE),
        (at(-86400), Fault.FUTURE),
        (at(900), None),
        (at(900 + 300), None),
        (at(900 + 301), Fault.EXPIRED),
        (at(86400), Fault.EXPIRED),
        (replace(EXPECTED, host="other"), Fault.HOST),
        (replace(EXPECTED, user=b"other"), Fault.USER),
        (replace(EXPECTED, user=b""), Fault.USER),
        (replace(EXPECTED, user=USER.encode() + b"\0"), Fault.USER),
        (replace(EXPECTED, user=USER.upper().encode()), Fault.USER),
        (replace(EXPECTED, region="eu-central-1"), Fault.REGION),
        (replace(EXPECTED, service="memorydb"), Fault.SERVICE),
        (replace(EXPECTED, is_serverless=True), Fault.SERVERLESS),
    ],
)
def test_a_token_is_for_one_login_at_one_time(expected: Expected, fault: Fault | None) -> None:
    assert judge(TOKEN, expected) is fault


def test_a_token_of_a_minute_lives_a_minute() -> None:
    token = token_of(expires=60)
    assert judge(token, at(360)) is None
    assert judge(token, at(361)) is Fault.EXPIRED


@pytest.mark.parametrize("secret", ["", "x", SECRET.lower(), SECRET + "x"])
def test_the_secret_must_be_the_signers(secret: str) -> None:
    assert judge(TOKEN, secret=secret) is Fault.SIGNATURE


def test_only_the_lifetime_that_aws_allows_is_accepted_though_it_is_signed() -> None:
    assert judge(token_of(expires=901)) is Fault.LIFETIME


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"service": "rds-db"}, Fault.SERVICE),
        ({"service": "memorydb"}, Fault.SERVICE),
        ({"region": "us-east-2"}, Fault.REGION),
        ({"is_serverless": True}, Fault.SERVERLESS),
    ],
)
def test_a_token_for_something_else_is_refused_though_it_is_signed(
    options: dict[str, Any], fault: Fault
) -> None:
    assert judge(token_of(**options)) is fault


def meaning(token: bytes) -> bytes:
    """What is the same for everybody who reads it: hosts in either case, and digits of escapes."""
    host, _, rest = token.partition(b"/")
    return host.lower() + b"/" + re.sub(b"%..", lambda escape: escape[0].upper(), rest)


EDITS = st.sampled_from(["replace", "insert", "delete"])
SIGNED = [TOKEN, token_of(session=SESSION), java(3, session=SESSION)]


@settings(max_examples=1500)
@given(token=st.sampled_from(SIGNED), edit=EDITS, place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_token_with_one_byte_changed_is_refused(token: bytes, edit: str, place: int, byte: int) -> None:
    place %= len(token)
    assert judge(token) is None
    middle = b"" if edit == "delete" else bytes([byte])
    changed = token[:place] + middle + token[place + (edit != "insert") :]
    assume(meaning(changed) != meaning(token))
    assert judge(changed) is not None


def test_every_byte_of_a_token_counts() -> None:
    for place, byte in enumerate(TOKEN):
        changed = TOKEN[:place] + bytes([byte ^ 1]) + TOKEN[place + 1 :]
        assert judge(changed) is not None, place


PIECES = st.sampled_from(
    [b"&", b"=", b"%", b"/?", b"?", b"+", b"X-Amz-Date", b"User", b"my-cache", b"/", b"%00"]
)


@settings(max_examples=1000)
@given(st.one_of(st.binary(max_size=300), st.lists(st.one_of(PIECES, st.binary(max_size=4))).map(b"".join)))
def test_any_bytes_are_refused_and_never_raise(token: bytes) -> None:
    assert judge(token) is not None
    assert judge(b"my-cache/?" + token) is not None
    assert judge(TOKEN + token) is not None or not token


def test_nothing_secret_shows() -> None:
    read = token_read(token_of(session=SESSION))
    assert TOKEN[-64:].decode() not in repr(read)
    assert SESSION[:20] not in repr(read)
    signer = Signer(USER, CLUSTER, REGION, KEY_ID, SECRET, SESSION)
    assert SECRET not in repr(signer)
    assert SESSION[:20] not in repr(signer)
