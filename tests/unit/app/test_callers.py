"""Who asks the admin API, by token, certificate or place, and what is let through."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trustme

from shardproxy.access.audit import Audit
from shardproxy.access.inbound import Inbound
from shardproxy.admin import server
from shardproxy.admin.callers import EVERYBODY, Caller, Callers, Right
from shardproxy.admin.http import admin_build
from shardproxy.admin.listen import admin_close, admin_listen
from shardproxy.admin.server import certificate_names, run_admin
from shardproxy.admin.slots import KEPT_FOR_HERE, MAX_CONNECTIONS, MAX_OF_ONE, Slots
from shardproxy.admin.status import Sources, Status, StatusBoard
from shardproxy.admin.tls import context_read
from shardproxy.cli.ask import AskError, Proxy, ask
from shardproxy.config import AdminAccess, SecretError, parse_config
from shardproxy.config.errors import ConfigError
from shardproxy.config.files import FilesRead
from shardproxy.config.tls import Tls
from shardproxy.model import Address
from tests.unit.app.fake_native import FakeNative, dataplane_over

TLS = {"certificate": "tls.crt", "key": "tls.key", "client_ca": "ca.crt", "client": "optional"}
READ, ACT = "read-" + "r" * 40, "act-" + "a" * 40


@pytest.fixture
def callers(monkeypatch: pytest.MonkeyPatch) -> Callers:
    monkeypatch.setenv("READ_TOKEN", READ)
    monkeypatch.setenv("ACT_TOKEN", ACT)
    return Callers.read(
        AdminAccess.model_validate(
            {
                "tokens": [
                    {"name": "grafana", "rights": "read", "env": "READ_TOKEN"},
                    {"name": "ops", "rights": "act", "env": "ACT_TOKEN"},
                ],
                "certificates": [
                    {"name": "watch.example.com", "rights": "read"},
                    {"name": "admin", "rights": "act"},
                ],
                "tls": TLS,
            }
        )
    )


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (f"Bearer {READ}", Caller("grafana", Right.READ)),
        (f"bearer  {ACT} ", Caller("ops", Right.ACT)),
        (f"Basic {ACT}", None),
        (f"Bearer {ACT[:-1]}", None),
        (f"Bearer {ACT}x", None),
        ("Bearer", None),
        ("", None),
        ("Bearer \udcff", None),
        (None, None),
    ],
)
def test_a_token_says_who_asks(callers: Callers, authorization: str | None, expected: Caller | None) -> None:
    for peer in ("127.0.0.1", "10.0.0.9", ""):
        assert callers.identify(peer, authorization) == expected


def test_the_strongest_name_of_a_certificate_counts(callers: Callers) -> None:
    assert callers.identify("10.0.0.9", None, ("x", "watch.example.com")) == Caller(
        "watch.example.com", Right.READ
    )
    assert callers.identify("10.0.0.9", None, ("watch.example.com", "admin")) == Caller("admin", Right.ACT)
    assert callers.identify("10.0.0.9", None, ("other",)) is None
    assert callers.identify("10.0.0.9", "Bearer wrong", ("admin",)) is None, "a wrong token is wrong"


def test_without_access_this_machine_acts_and_others_look() -> None:
    for peer in ("127.0.0.1", "::1", ""):
        caller = EVERYBODY.identify(peer, None)
        assert caller is not None
        assert caller.right is Right.ACT
    caller = EVERYBODY.identify("10.0.0.9", "Bearer what")
    assert caller is not None
    assert caller.right is Right.LOOK


LOOKED_AT = ("metrics", "api/status", "api/topology", "api/events", "api/jobs", "api/clients", "api/process")
TELLING = (
    "api/hotkeys", "api/bigkeys", "api/slowlog", "api/explain?cluster=a&arg=GET", "api/usage", "api/advice",
    "api/config", "api/dead-letters?cluster=a", "api/whatever-comes-next",
)  # fmt: skip
WORKING = ("api/bigkeys/scan?cluster=a", "api/trace?cluster=a", "api/usage?sample=9")


@pytest.mark.parametrize(("peer", "is_here"), [("127.0.0.1", True), ("10.0.0.9", False)])
async def test_without_access_others_are_told_no_key_no_request_and_no_config(
    peer: str, is_here: bool
) -> None:
    dataplane = dataplane_over(FakeNative())
    sources = Sources(StatusBoard(), dataplane.statistics, dataplane.clients, {}, workers=dataplane.workers)
    transport = httpx.ASGITransport(admin_build(sources), client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path in ("livez", "", "console/app.js", *LOOKED_AT):
            assert (await client.get(f"/{path}")).status_code == 200, path
        for path, right in (*((path, "read") for path in TELLING), *((path, "act") for path in WORKING)):
            answer = await client.get(f"/{path}")
            assert (answer.status_code == 403) != is_here, path
            if not is_here:
                assert (
                    f"admin_access: {{tokens: [{{name: ops, rights: {right}, file" in answer.json()["error"]
                )
        rights = (await client.get("/api/process")).json()["rights"]
        assert rights == ("act" if is_here else "look")
    dataplane.stop()


@pytest.mark.parametrize(("loopback", "right"), [("none", None), ("read", Right.READ), ("act", Right.ACT)])
def test_loopback_may_what_the_config_says(loopback: str, right: Right | None) -> None:
    access = {"loopback": loopback, "certificates": [{"name": "a", "rights": "read"}], "tls": TLS}
    callers = Callers.read(AdminAccess.model_validate(access))
    found = callers.identify("127.0.0.1", None)
    assert (found.right if found else None) == right
    assert callers.identify("10.0.0.9", None) is None


def test_a_short_token_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT", "0123456789abcde")
    access = {"tokens": [{"name": "a", "rights": "read", "env": "SHORT"}]}
    with pytest.raises(SecretError, match="fewer than 16") as failure:
        Callers.read(AdminAccess.model_validate(access))
    assert "0123" not in str(failure.value)


@pytest.mark.parametrize(
    ("access", "message"),
    [
        ("{}", "nobody may ask"),
        ("{tokens: [secretsecretsecret]}", "never written in the config"),
        ("{tokens: [{name: a, rights: act, token: secretsecretsecret}]}", "never written in the config"),
        ("{tokens: [{name: a, rights: act, file: /a, env: A}]}", "exactly one of file and env"),
        (
            "{tokens: [{name: a, rights: act, file: /a}, {name: a, rights: read, file: /b}]}",
            "two tokens have the name 'a'",
        ),
        ("{loopback: write}", "loopback"),
        ("{certificates: [{name: a, rights: act}]}", "certificates need tls with client_ca"),
        (
            "{loopback: act, tls: {certificate: a, key: b, client_ca: c, user: cn}}",
            "no meaning for the admin API",
        ),
    ],
)
def test_what_is_no_access_is_refused(access: str, message: str) -> None:
    cluster = '{engine: redis, endpoints: {primary: "127.0.0.1:1"}, shards: [{nodes: ["127.0.0.1:2"]}]}'
    with pytest.raises(ConfigError, match=message) as failure:
        parse_config(f"admin_access: {access}\nclusters: {{a: {cluster}}}\n")
    assert "secretsecret" not in str(failure.value)


def test_names_are_those_of_the_certificate() -> None:
    certificate = {
        "subject": ((("organizationName", "o"),), (("commonName", "ops"),)),
        "subjectAltName": (("DNS", "ops.example.com"), ("email", "ops@example.com")),
    }
    assert certificate_names(certificate) == ("ops", "ops.example.com", "ops@example.com")
    assert certificate_names({}) == ()


@asynccontextmanager
async def serving(
    callers: Callers, tls: ssl.SSLContext | None = None, inbound: Inbound | None = None
) -> AsyncIterator[tuple[str, Audit]]:
    """The address, and what is noted."""
    native = FakeNative()
    dataplane = dataplane_over(native)
    audit = Audit("/dev/null")
    status = StatusBoard(Status(callers=callers, tls=tls, inbound=inbound))
    sources = Sources(
        status, dataplane.statistics, dataplane.clients, {}, audit=audit, workers=dataplane.workers
    )
    listener = admin_listen(Address("127.0.0.1", 0))
    name = listener.getsockname()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(run_admin, listener, sources)
            yield f"{name[0]}:{name[1]}", audit
            nursery.cancel_scope.cancel()
    dataplane.stop()
    admin_close(listener)


async def asked(proxy: Proxy, path: str, body: dict[str, Any] | None = None) -> str:
    """`ok`, or what was said instead."""
    try:
        await trio.to_thread.run_sync(ask, proxy, path, body)
    except AskError as error:
        return str(error)
    return "ok"


@pytest.fixture
def token_files(tmp_path: Path) -> dict[str, Path]:
    files = {}
    for name, token in (("read", READ), ("act", ACT), ("wrong", "w" * 40)):
        files[name] = tmp_path / name
        files[name].write_text(token + "\n")
    return files


async def test_reading_and_acting_are_separate_rights(callers: Callers, token_files: dict[str, Path]) -> None:
    pause = {"cluster": "main"}
    no_cluster = "no cluster 'main' with replication; there is: none"
    async with serving(callers) as (address, audit):
        with_token = {name: Proxy(address, token_file=file) for name, file in token_files.items()}
        assert "a token is asked for" in await asked(Proxy(address), "/api/topology")
        assert "not known" in await asked(with_token["wrong"], "/api/topology")
        assert await asked(with_token["read"], "/api/topology") == "ok"
        assert await asked(with_token["act"], "/api/topology") == "ok"
        assert "grafana: it may only read" in await asked(with_token["read"], "/api/pause", pause)
        assert no_cluster in await asked(with_token["act"], "/api/pause", pause)
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
            assert (await client.get("/livez")).status_code == 200, "kubelets have no tokens"
            refused = await client.get("/metrics")
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            origin = {"origin": "https://evil.example", "authorization": f"Bearer {ACT}"}
            assert (await client.post("/api/pause", json=pause, headers=origin)).status_code == 403
        noted = [line for line in audit.lines() if '"admin_action"' in line]
        assert len(noted) == 1, noted
        assert '"user": "ops"' in noted[0]
        assert '"action": "pause"' in noted[0]
        assert '"cluster": "main"' in noted[0]
        refusals = [line for line in audit.lines() if '"admin_refused"' in line]
        assert len(refusals) == 5
        assert not any(token in line for token in (READ, ACT) for line in audit.lines())


@pytest.mark.parametrize(
    ("path", "is_work"),
    [
        ("bigkeys/scan?cluster=a", True),
        ("trace?cluster=a", True),
        ("usage?sample=100", True),
        ("usage?sample=x", True),
        ("usage?sample=0", False),
        ("usage", False),
        ("hotkeys", False),
    ],
)
async def test_what_has_nodes_work_needs_the_right_to_act(
    callers: Callers, token_files: dict[str, Path], path: str, is_work: bool
) -> None:
    why = "grafana: this has nodes work, and it may only read: "
    async with serving(callers) as (address, _):
        assert (await asked(Proxy(address, token_file=token_files["read"]), f"/api/{path}")).startswith(
            why
        ) == is_work
        said = await asked(Proxy(address, token_file=token_files["act"]), f"/api/{path}")
        assert "it may only read" not in said


@pytest.mark.parametrize(("network", "is_admitted"), [("127.0.0.0/8", True), ("10.0.0.0/8", False)])
async def test_groups_say_from_where_one_may_connect(
    callers: Callers, network: str, is_admitted: bool
) -> None:
    inbound = Inbound.of([ipaddress.ip_network(network)])
    async with (
        serving(callers, inbound=inbound) as (address, _),
        httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client,
    ):
        if is_admitted:
            assert (await client.get("/livez")).status_code == 200
            return
        with pytest.raises(httpx.TransportError):
            await client.get("/livez")  # probes come from somewhere, too


async def test_certificates_say_who_asks(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "admin", "nobody", "stranger")}
    authority.cert_pem.write_to_path(files["ca"])
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    served = authority.issue_cert("127.0.0.1")
    served.private_key_pem.write_to_path(tmp_path / "tls.key")
    served.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    context = context_read(Tls.model_validate(TLS), FilesRead(tmp_path))
    authority.issue_cert(common_name="admin").private_key_and_cert_chain_pem.write_to_path(files["admin"])
    authority.issue_cert("nobody.example").private_key_and_cert_chain_pem.write_to_path(files["nobody"])
    stranger.issue_cert(common_name="admin").private_key_and_cert_chain_pem.write_to_path(files["stranger"])
    access = AdminAccess.model_validate({"certificates": [{"name": "admin", "rights": "act"}], "tls": TLS})
    async with serving(Callers.read(access), context) as (address, _):
        by = {name: Proxy(address, cacert=files["ca"], cert=files[name]) for name in ("admin", "nobody")}
        assert await asked(by["admin"], "/api/topology") == "ok"
        assert "no cluster" in await asked(by["admin"], "/api/pause", {"cluster": "main"})
        assert "a token is asked for" in await asked(by["nobody"], "/api/topology")
        assert "a token is asked for" in await asked(Proxy(address, cacert=files["ca"]), "/api/topology")
        forged = Proxy(address, cacert=files["ca"], cert=files["stranger"])
        assert await asked(forged, "/api/topology") != "ok"
        assert "TLS" in await asked(Proxy(address), "/api/topology")


async def test_no_host_leads_past_the_gate(callers: Callers) -> None:
    """What a client says is its host must not make another path of the one that it asks for."""
    async with serving(callers) as (address, _):
        for host in ("127.0.0.1:1/livez?", "127.0.0.1/livez?", "a@127.0.0.1", "127.0.0.1#/livez", "x\\livez"):
            async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
                headers = {"host": host}
                for answer in (
                    await client.get("/api/topology", headers=headers),
                    await client.post("/api/pause", json={"cluster": "main"}, headers=headers),
                ):
                    assert answer.status_code in (400, 403), (host, answer.text)


def test_nobody_takes_all_connections_of_the_admin_api() -> None:
    slots = Slots()
    one = sum(slots.take("10.0.0.1", is_here=False) for _ in range(100))
    assert one == MAX_OF_ONE
    others = sum(slots.take(f"10.0.1.{number}", is_here=False) for number in range(100))
    assert one + others == MAX_CONNECTIONS - KEPT_FOR_HERE
    assert sum(slots.take("", is_here=True) for _ in range(100)) == KEPT_FOR_HERE
    slots.give("10.0.0.1")
    assert slots.take("127.0.0.1", is_here=True)
    slots.give("127.0.0.1")
    assert not slots.take("10.0.0.9", is_here=False), "what is kept is kept"


async def test_who_does_not_shake_hands_is_closed(callers: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HANDSHAKE", 0.05)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with serving(callers, context) as (address, _):
        host, _, port = address.rpartition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            assert await stream.receive_some() == b""


async def test_a_token_is_one_word(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("plantedsecret\nsecond\n")
    said = await asked(Proxy("127.0.0.1:1", token_file=file), "/api/status")
    assert "one word" in said
    assert "planted" not in said
