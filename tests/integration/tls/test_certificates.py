"""Which certificate is shown, which are asked for, and what becomes of them when their files change."""

from __future__ import annotations

import datetime
import re
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shardproxy.fleet import Fleet
from tests.fixtures.certificates import YESTERDAY, Authority, swap
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until


def connect(
    proxy: Proxy, context: ssl.SSLContext, name: str = "localhost", session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    sock = socket.create_connection((proxy.host, proxy.port), timeout=10)
    return context.wrap_socket(sock, server_hostname=name, session=session)


def ask(sock: ssl.SSLSocket, command: str) -> bytes:
    sock.sendall(f"{command}\r\n".encode())
    return sock.recv(1000)


def ping(sock: ssl.SSLSocket) -> bytes:
    return ask(sock, "PING")


def is_served(proxy: Proxy, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> bool:
    """In TLS 1.3 a client hears that it is refused only when it reads."""
    try:
        with connect(proxy, context, session=session) as sock:
            return ping(sock) == b"+PONG\r\n"
    except (ssl.SSLError, ConnectionError):
        return False


def says(proxy: Proxy, text: str) -> bool:
    return text in proxy.log()


def start(start_proxy: StartProxy, fleet: Fleet, tls: dict[str, Any]) -> Proxy:
    config = config_of(fleet, tls=tls, failover={"enabled": False})
    config["log"] = {"format": "json"}
    return start_proxy(config)


def names(sock: ssl.SSLSocket) -> list[str]:
    found: Any = sock.getpeercert()
    return [name for _, name in found["subjectAltName"]]


def test_each_name_has_its_certificate(
    session_fleet: Fleet, start_proxy: StartProxy, authority: Authority
) -> None:
    tls = {
        **authority.issue("first", "a.example", "127.0.0.1"),
        "certificates": [authority.issue("second", "b.example"), authority.issue("third", "*.c.example")],
    }
    proxy = start(start_proxy, session_fleet, tls)
    for asked, shown in [
        ("a.example", "a.example"),
        ("b.example", "b.example"),
        ("B.Example", "b.example"),
        ("x.c.example", "*.c.example"),
        ("127.0.0.1", "a.example"),
    ]:
        with connect(proxy, authority.context(), asked) as sock:
            assert names(sock)[0] == shown, asked
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(proxy, authority.context(), "unknown.example")


def test_clients_have_to_show_certificates(
    session_fleet: Fleet, start_proxy: StartProxy, authority: Authority, tmp_path: Path
) -> None:
    tls = {**authority.issue("proxy"), "client_ca": str(authority.ca)}
    proxy = start(start_proxy, session_fleet, tls)
    good = authority.issue("good", "app.example")
    with connect(proxy, authority.context(good)) as sock:
        assert ping(sock) == b"+PONG\r\n"
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other").issue("stranger", "app.example")
    expired = authority.issue("expired", "app.example", lasts=-YESTERDAY)
    for own, why in [
        (None, "it showed no certificate"),
        (other, "signed by an unknown CA"),
        (expired, "its certificate has expired"),
    ]:
        assert not is_served(proxy, authority.context(own))
        wait_until(partial(says, proxy, why), why)


def test_clients_may_show_certificates(
    session_fleet: Fleet, start_proxy: StartProxy, authority: Authority
) -> None:
    tls = {**authority.issue("proxy"), "client_ca": str(authority.ca), "client": "optional"}
    proxy = start(start_proxy, session_fleet, tls)
    for own in (None, authority.issue("app", "app.example")):
        with connect(proxy, authority.context(own)) as sock:
            assert ping(sock) == b"+PONG\r\n"


@pytest.mark.parametrize("by", ["cn", "san"])
def test_a_certificate_names_the_user(
    session_fleet: Fleet, start_proxy: StartProxy, authority: Authority, by: str
) -> None:
    app, named = ("app", "nobody.example") if by == "cn" else ("nobody", "app.example")
    tls = {**authority.issue("proxy"), "client_ca": str(authority.ca), "client": "optional", "user": by}
    users: list[dict[str, Any]] = [
        {
            "name": app if by == "cn" else named,
            "passwords": [{"env": "PASSWORD"}],
            "rules": "~a:* +@all",
        },
        {"name": "gone", "enabled": False, "passwords": [{"env": "PASSWORD"}]},
        {"name": "other", "passwords": [{"env": "PASSWORD"}], "rules": "~* +@all"},
        {"name": "verified", "external": True, "rules": "~* +@all"},
    ]
    access = {"users": users, "verifier": {"url": "http://127.0.0.1:9/"}}
    config = config_of(session_fleet, tls=tls, access=access, failover={"enabled": False})
    proxy = start_proxy(config, env={"PASSWORD": "a password of users"})
    with connect(proxy, authority.context(authority.issue("app", named, common_name=app))) as sock:
        assert ask(sock, "ACL WHOAMI").split(b"\r\n")[1] == str(users[0]["name"]).encode()
        assert ask(sock, "SET a:1 1") == b"+OK\r\n"
        assert ask(sock, "SET b:1 1").startswith(b"-NOPERM")
        assert ask(sock, "AUTH other 'a password of users'") == b"+OK\r\n"
        assert ask(sock, "SET b:1 1") == b"+OK\r\n"
        assert ask(sock, "RESET") == b"+RESET\r\n"
        assert ask(sock, "ACL WHOAMI").split(b"\r\n")[1] == str(users[0]["name"]).encode()
    for own in (
        None,
        authority.issue("unknown", "unknown.example", common_name="unknown"),
        authority.issue("verified", "verified", common_name="verified"),
        authority.issue("gone", "gone", common_name="gone"),
    ):
        with connect(proxy, authority.context(own)) as sock:
            assert ask(sock, "PING").startswith(b"-NOAUTH")


def test_a_certificate_is_shown_each_time_and_one_that_was_renewed_is_taken(
    session_fleet: Fleet, start_proxy: StartProxy, authority: Authority
) -> None:
    tls = {**authority.issue("proxy"), "client_ca": str(authority.ca)}
    proxy = start(start_proxy, session_fleet, tls)
    context = authority.context(authority.issue("brief", lasts=datetime.timedelta(seconds=3)))
    with connect(proxy, context) as first:
        assert ping(first) == b"+PONG\r\n"
        session = first.session
        with connect(proxy, context, session=session) as sock:
            assert not sock.session_reused, "the old one would be taken for as long as sessions go on"
        wait_until(lambda: not is_served(proxy, context, session), "the certificate has expired")
        renewed = authority.issue("renewed")
        context.load_cert_chain(renewed["certificate"], renewed["key"])
        with connect(proxy, context, session=session) as sock:
            assert ping(sock) == b"+PONG\r\n"


def test_a_handshake_is_judged_by_the_authority_there_is_at_its_end(
    session_fleet: Fleet, start_proxy: StartProxy, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    tls = {**authority.issue("proxy"), "client_ca": str(authority.ca)}
    proxy = start(start_proxy, session_fleet, tls)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = authority.context(authority.issue("app")).wrap_bio(
        incoming, outgoing, server_hostname="localhost"
    )
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as sock:
        with pytest.raises(ssl.SSLWantReadError):
            session.do_handshake()
        sock.sendall(outgoing.read())
        incoming.write(sock.recv(1 << 16))
        session.do_handshake()
        session.write(b"PING\r\n")
        proxy.config["clusters"]["main"]["tls"]["client_ca"] = str(other.ca)
        proxy.reload(proxy.config)
        wait_until(lambda: says(proxy, "config reloaded"), "the other one is in force")
        sock.sendall(outgoing.read())
        while heard := sock.recv(1 << 16):
            incoming.write(heard)
        incoming.write_eof()
        assert session.read(100) == b""
    why = "what TLS is spoken with has changed meanwhile"
    wait_until(lambda: says(proxy, why), "the log says so")


def test_a_certificate_is_replaced_under_clients(
    session_fleet: Fleet, start_proxy: StartProxy, authority: Authority, tmp_path: Path
) -> None:
    for folder, name in (("old", "old.example"), ("new", "new.example")):
        (tmp_path / folder).mkdir()
        authority.directory = tmp_path / folder
        authority.issue("tls", name, "localhost")
    data = tmp_path / "..data"
    data.symlink_to(tmp_path / "old")
    tls = {"certificate": str(data / "tls.crt"), "key": str(data / "tls.key")}
    proxy = start(start_proxy, session_fleet, tls)
    with connect(proxy, authority.context()) as before:
        assert "old.example" in names(before)
        swap(data, tmp_path / "new")

        def is_new() -> bool:
            with connect(proxy, authority.context()) as sock:
                return "new.example" in names(sock)

        wait_until(is_new, "the new certificate is shown")
        assert ping(before) == b"+PONG\r\n", "who is in stays"
    (tmp_path / "new" / "tls.key").write_text("nothing")
    wait_until(lambda: "config refused" in proxy.log(), "what cannot be read is refused")
    assert re.search(r"clusters\.main\.tls: .*/tls\.key: there is no private key in it", proxy.log())
    assert is_new(), "and the last that could be stays"


def test_a_change_of_something_else_keeps_sessions(
    session_fleet: Fleet, start_proxy: StartProxy, authority: Authority
) -> None:
    tls = authority.issue("proxy")
    proxy = start(start_proxy, session_fleet, tls)
    context = authority.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # its tickets come with the handshake
    with connect(proxy, context) as first:
        session = first.session
    config = {**proxy.config, "clusters": {"main": {**proxy.config["clusters"]["main"]}}}
    config["clusters"]["main"]["limits"] = {"clients": 5000}
    proxy.reload(config)
    wait_until(lambda: "config reloaded" in proxy.log(), "it is reloaded")
    sock = socket.create_connection((proxy.host, proxy.port), timeout=10)
    with context.wrap_socket(sock, server_hostname="localhost", session=session) as again:
        assert ping(again) == b"+PONG\r\n"
        assert again.session_reused


def test_expiry_is_told_before_it_comes(
    session_fleet: Fleet, start_proxy: StartProxy, authority: Authority
) -> None:
    tls = authority.issue("expired", lasts=-YESTERDAY)
    Path(tls["key"]).chmod(0o644)
    proxy = start(start_proxy, session_fleet, tls)
    assert "the certificate for localhost has expired" in proxy.log()
    assert "expired.key can be read by everybody on this machine" in proxy.log()
    found = [
        value
        for name, value in proxy.metrics().items()
        if name.startswith("shardproxy_certificate_expiry_timestamp_seconds{")
    ]
    assert len(found) == 1
    assert found[0] > 1.7e9


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda tls: Path(tls["key"]).unlink(), r"proxy\.key: cannot be read: no such file"),
        (lambda tls: Path(tls["key"]).write_text("x"), r"proxy\.key: there is no private key"),
        (lambda tls: Path(tls["certificate"]).write_text("x"), r"proxy\.crt: there is no certificate"),
        (lambda tls: Path(tls["certificate"]).write_bytes(b"\xff"), r"proxy\.crt: is not PEM"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_at_start(
    session_fleet: Fleet, start_proxy: StartProxy, authority: Authority, break_it: Any, said: str
) -> None:
    tls = authority.issue("proxy")
    break_it(tls)
    proxy = start_proxy(config_of(session_fleet, tls=tls), wait=False)
    assert proxy.wait() != 0
    assert re.search(r"clusters\.main\.tls: .*" + said, proxy.log()), proxy.log()


def test_a_key_of_another_certificate_is_refused(
    session_fleet: Fleet, start_proxy: StartProxy, authority: Authority
) -> None:
    tls = {**authority.issue("proxy"), "key": authority.issue("other")["key"]}
    proxy = start_proxy(config_of(session_fleet, tls=tls), wait=False)
    assert proxy.wait() != 0
    assert "other.key: this key is not the certificate's" in proxy.log()
