"""AUTH of users whose logins are verified in the control plane."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from shardproxy.access.audit import Audit
from shardproxy.access.http import HttpVerifier
from shardproxy.access.iam import IamVerifier
from shardproxy.access.iam_keys import AccessKey, KeyStore
from shardproxy.access.policies import Statement
from shardproxy.access.statistics import LoginStatistics
from shardproxy.access.turns import MAX_CALLS_FROM
from shardproxy.access.verifiers import Kind, Verifiers
from tests.fixtures.offload import CLUSTER, client_row, open_desk, topology_at
from tests.unit.access.tokens import CLUSTER as CACHE
from tests.unit.access.tokens import KEY_ID, NOW, REGION, SECRET, USER, token_of

OK = b"+OK\r\n"
WRONGPASS = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
NODES = topology_at("127.0.0.1:1")


class Service:
    """Accepts one password; says nothing while it is shut."""

    def __init__(self) -> None:
        self.open = trio.Event()
        self.open.set()
        self.asked: list[dict[str, str]] = []

    async def post(self, url: str, body: dict[str, str], timeout: float) -> bytes:
        self.asked.append(dict(body))
        await self.open.wait()
        return json.dumps({"allow": body["secret"] == "good"}).encode()


def verifiers(service: Service, audit: Audit | None = None) -> Verifiers:
    kinds = {USER: Kind.IAM, "asked": Kind.EXTERNAL}
    statistics = LoginStatistics()
    made = Verifiers(lambda _, user: kinds.get(user), statistics=statistics, audit=audit or Audit())
    key = AccessKey(KEY_ID, "role/app", "", (Statement(True, ("*",), ("*",)),), SECRET)
    iam = IamVerifier(KeyStore({KEY_ID: key}), CACHE, REGION, wall=lambda: NOW)
    asked = HttpVerifier("http://localhost/", 2, 60, service.post, statistics)
    made.replace({CLUSTER: {Kind.IAM: iam, Kind.EXTERNAL: asked}})
    return made


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        ((USER, token_of()), OK),
        ((USER, token_of()[:-1] + b"x"), WRONGPASS),
        ((USER, token_of(user="asked")), WRONGPASS),
        (("asked", token_of(user="asked")), WRONGPASS),
        (("asked", "good"), OK),
        (("asked", "bad"), WRONGPASS),
        (("asked", b"\xff"), WRONGPASS),
        (("nobody", "good"), WRONGPASS),
        ((b"\xff", "good"), WRONGPASS),
        (("good",), WRONGPASS),
        (("a", "b", "c"), WRONGPASS),
    ],
)
async def test_a_login_is_answered(words: tuple[str | bytes, ...], reply: bytes) -> None:
    async with open_desk(NODES, verifiers=verifiers(Service())) as desk:
        assert await desk.ask("AUTH", *words) == reply


async def test_without_verifiers_nobody_gets_in() -> None:
    async with open_desk(NODES) as desk:
        assert await desk.ask("AUTH", USER, token_of()) == WRONGPASS


async def test_a_service_is_told_where_the_client_is() -> None:
    service = Service()
    async with open_desk(NODES, verifiers=verifiers(service)) as desk:
        desk.connected = [client_row(1), client_row(2)]
        assert await desk.ask("AUTH", "asked", "good", client=2) == OK
        assert await desk.ask("AUTH", USER, token_of(), client=1) == OK
        assert await desk.ask("AUTH", "asked", "good", client=3) == OK
        assert desk.described == [2], "only who is asked about is looked for"
    assert [body["address"] for body in service.asked] == ["10.0.0.2:5000", ""]


async def test_logins_that_wait_hold_up_no_other_command(autojump_clock: trio.testing.MockClock) -> None:
    service = Service()
    service.open = trio.Event()
    replies: list[bytes] = []
    async with open_desk(NODES, verifiers=verifiers(service)) as desk, trio.open_nursery() as nursery:

        async def log_in(number: int) -> None:
            replies.append(await desk.ask("AUTH", "asked", f"secret{number}", client=number))

        started = trio.current_time()
        for number in range(200):
            nursery.start_soon(log_in, number)
        await trio.testing.wait_all_tasks_blocked()
        assert len(service.asked) == MAX_CALLS_FROM
        assert await desk.ask("AUTH", USER, token_of()) == OK
        assert await desk.ask("COMMAND", "COUNT") != b""
        assert trio.current_time() == started
    assert replies == [WRONGPASS] * 200
    assert trio.current_time() == started + 2


async def test_the_audit_log_says_why_and_nothing_secret() -> None:
    audit = Audit("stdout")
    by = verifiers(Service(), audit)
    token = token_of()
    with capture_logs() as logged:
        async with open_desk(NODES, verifiers=by) as desk:
            await desk.ask("AUTH", USER, token, client=5)
            await desk.ask("AUTH", USER, token + b"&x=y")
            await desk.ask("AUTH", "asked", "hunter2")
    lines = [json.loads(line) for line in audit.lines()]
    assert [(line["event"], line["user"], line["verdict"], line.get("why")) for line in lines] == [
        ("login_verified", USER, "accepted", None),
        ("login_verified", USER, "refused", "wrong signature"),
        ("login_verified", "asked", "refused", "verifier refused it"),
    ]
    assert (lines[0]["principal"], lines[0]["client"], lines[0]["by"]) == ("role/app", 5, "iam")
    said = str(audit.lines()) + str(logged)
    assert token[-20:].decode() not in said
    assert "hunter2" not in said
    assert by.statistics.accepted == {CLUSTER: 1}
    assert by.statistics.refused == {(CLUSTER, "wrong signature"): 1, (CLUSTER, "verifier refused it"): 1}
