"""A login by IAM token: key, session, policy, throttle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing

from shardproxy.access.iam import ADDRESS_WAIT, IamVerifier
from shardproxy.access.iam_keys import AccessKey, KeyStore
from shardproxy.access.policies import Statement
from shardproxy.access.sigv4 import Fault
from shardproxy.access.throttle import Throttle
from shardproxy.access.verifiers import (
    NOT_VERIFIED,
    THROTTLED,
    TOO_LONG,
    Accepted,
    Kind,
    Login,
    Refused,
    Verdict,
    Verifiers,
)
from tests.unit.access.tokens import CLUSTER, KEY_ID, NOW, REGION, SECRET, SESSION, USER, java, token_of

ANYTHING = (Statement(True, ("*",), ("*",)),)
KEY = AccessKey(KEY_ID, "app", "123456789012", ANYTHING, SECRET)
TEMPORARY = replace(KEY, session_token=SESSION, expires=NOW + 60)


def verifier(*keys: AccessKey, region: str = REGION, now: float = NOW) -> IamVerifier:
    store = KeyStore({key.access_key_id: key for key in keys or (KEY,)})
    return IamVerifier(store, CLUSTER, region, wall=lambda: now, clock=lambda: 0.0)


def login(secret: bytes, user: str = USER) -> Login:
    return Login("main", user.encode(), secret)


def refused(fault: Fault, principal: str = "app") -> Refused:
    return Refused(fault.value, principal)


CASES: dict[str, tuple[IamVerifier, bytes, Verdict]] = {
    "a token of botocore": (verifier(), token_of(), Accepted("app")),
    "a token of Java": (verifier(), java(), Accepted("app")),
    "a token of a role": (verifier(TEMPORARY), token_of(session=SESSION), Accepted("app")),
    "a session without an end": (
        verifier(replace(TEMPORARY, expires=None)),
        token_of(session=SESSION),
        Accepted("app"),
    ),
    "another region": (verifier(region="eu-central-1"), token_of(), refused(Fault.REGION, "")),
    "no token": (verifier(), b"hunter2", refused(Fault.MALFORMED, "")),
    "another cluster": (verifier(), token_of(cluster="other"), refused(Fault.HOST, "")),
    "another user": (verifier(), token_of(user="other"), refused(Fault.USER, "")),
    "an expired token": (verifier(now=NOW + 1201), token_of(), refused(Fault.EXPIRED, "")),
    "an unknown key": (verifier(replace(KEY, access_key_id="A")), token_of(), refused(Fault.UNKNOWN_KEY, "")),
    "another secret": (
        verifier(replace(KEY, secret_access_key="x")),
        token_of(),
        refused(Fault.SIGNATURE, ""),
    ),
    "a session of a key without": (verifier(), token_of(session=SESSION), refused(Fault.SESSION)),
    "an empty session": (verifier(), token_of(session=""), refused(Fault.SESSION)),
    "no session of a key with one": (verifier(TEMPORARY), token_of(), refused(Fault.SESSION)),
    "another session": (verifier(TEMPORARY), token_of(session="x"), refused(Fault.SESSION)),
    "a session that has ended": (
        verifier(TEMPORARY, now=NOW + 61),
        token_of(session=SESSION),
        refused(Fault.SESSION_EXPIRED),
    ),
    "no policy": (verifier(replace(KEY, statements=())), token_of(), refused(Fault.POLICY)),
    "a denial": (
        verifier(replace(KEY, statements=(*ANYTHING, Statement(False, ("*",), ("*:user:iam-*",))))),
        token_of(),
        refused(Fault.POLICY),
    ),
}


PROD = f"arn:aws:elasticache:{REGION}:123456789012:replicationgroup:{CLUSTER}"
SPARED = (*ANYTHING, Statement(False, ("elasticache:Connect",), (PROD,)))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, Fault.POLICY),
        ({"is_serverless": True}, Fault.SERVERLESS),
        ({"service": "memorydb"}, Fault.SERVICE),
        ({"region": "eu-central-1"}, Fault.REGION),
    ],
)
async def test_what_a_token_says_evades_no_denial(options: dict[str, Any], why: Fault) -> None:
    verdict = await verifier(replace(KEY, statements=SPARED)).verify(login(token_of(**options)))
    assert isinstance(verdict, Refused)
    assert verdict.why == why.value


@pytest.mark.parametrize(
    "options", [{"is_serverless": True}, {"service": "memorydb"}, {"region": "eu-central-1"}]
)
async def test_what_a_cluster_is_is_settled_with_it(options: dict[str, Any]) -> None:
    by = replace(verifier(), **options)
    assert await by.verify(login(token_of(**options))) == Accepted("app")
    assert isinstance(await by.verify(login(token_of())), Refused)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_login_is_decided(case: str) -> None:
    by, token, verdict = CASES[case]
    assert await by.verify(login(token)) == verdict


ANOTHER = token_of(user="other")


def at(address: str) -> Callable[[], Awaitable[str]]:
    async def find() -> str:
        return address

    return find


async def test_beyond_a_rate_logins_of_a_user_are_refused_and_counted() -> None:
    now = 0.0
    by = replace(verifier(), logins=Throttle(burst=2, per_second=1), clock=lambda: now)
    verifiers = Verifiers(lambda cluster, user: Kind.IAM)
    verifiers.replace({"main": {Kind.IAM: by}})
    token, too_many = token_of(), Refused(THROTTLED, "app", is_throttled=True)
    assert [await verifiers.verify(login(token)) for _ in range(3)] == [
        Accepted("app"),
        Accepted("app"),
        too_many,
    ]
    assert await verifiers.verify(login(ANOTHER, "other")) == Accepted("app")
    now = 1.0
    assert await verifiers.verify(login(token)) == Accepted("app")
    assert await verifiers.verify(login(token)) == too_many
    assert verifiers.statistics.throttled == {"main": 2}
    assert verifiers.statistics.accepted == {"main": 4}
    assert verifiers.statistics.refused == {("main", THROTTLED): 2}


@pytest.mark.parametrize("where", ["10.0.0.1:5000", "10.0.0.9:5000"])
async def test_whoever_fails_as_a_user_shuts_it_out_from_nowhere(where: str) -> None:
    by = verifier()
    failing = [
        await by.verify(Login("main", USER.encode(), b"hunter2", at(f"10.0.0.9:{port}")))
        for port in range(5000, 8000)
    ]
    assert failing[0] == refused(Fault.MALFORMED, "")
    assert failing[-1] == Refused(THROTTLED, is_throttled=True)
    assert await by.verify(Login("main", USER.encode(), token_of(), at(where))) == Accepted("app")
    from_there = await by.verify(Login("main", USER.encode(), b"hunter2", at("10.0.0.1:5000")))
    assert from_there == refused(Fault.MALFORMED, ""), "failures count where they come from"


async def test_an_address_that_is_not_told_holds_up_no_login(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def never() -> str:
        await trio.sleep_forever()

    by, started = verifier(), trio.current_time()
    assert await by.verify(Login("main", USER.encode(), token_of(), never)) == Accepted("app")
    assert trio.current_time() == started
    assert await by.verify(Login("main", USER.encode(), b"x", never)) == refused(Fault.MALFORMED, "")
    assert trio.current_time() == started + ADDRESS_WAIT


async def test_who_is_not_verified_is_refused() -> None:
    kinds = {"iam-user-01": Kind.IAM, "asked": Kind.EXTERNAL}
    verifiers = Verifiers(lambda cluster, user: kinds.get(user))
    verifiers.replace({"main": {Kind.IAM: verifier()}})
    token = token_of()
    assert await verifiers.verify(login(token)) == Accepted("app")
    assert await verifiers.verify(login(token_of(user="asked"), "asked")) == Refused(NOT_VERIFIED)
    assert await verifiers.verify(login(token, "nobody")) == Refused(NOT_VERIFIED)
    assert await verifiers.verify(Login("other", USER.encode(), token)) == Refused(NOT_VERIFIED)
    assert await verifiers.verify(login(b"x" * 16_385)) == Refused(TOO_LONG)
    verifiers.replace({})
    assert await verifiers.verify(login(token)) == Refused(NOT_VERIFIED)
    assert "x" * 9 not in repr(login(b"x" * 10))
