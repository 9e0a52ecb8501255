"""Clients that speak TLS: what they say and hear is what others do, whatever the size of its pieces."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from shardproxy.fleet import Fleet, free_port
from shardproxy.model import Address, Engine
from tests.fixtures.certificates import Authority
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

LARGE = 8 << 20  # bytes

Connect = Callable[..., ssl.SSLSocket]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(session_fleet: Fleet, start_proxy_for_module: StartProxy, authority: Authority) -> Proxy:
    """A proxy whose endpoints speak TLS, over the run's shared fleet."""
    tls = authority.issue("proxy")
    config = config_of(session_fleet, tls=tls, failover={"enabled": False})
    config["log"] = {"format": "json"}
    return start_proxy_for_module(config)


@pytest.fixture
def tls_client(authority: Authority) -> Iterator[Callable[..., redis.Redis]]:
    """redis-py over TLS: `tls_client(proxy)`."""
    with ExitStack() as stack:

        def connect(proxy: Proxy, **options: Any) -> redis.Redis:
            client = redis.Redis(
                host="127.0.0.1",
                port=proxy.port,
                ssl=True,
                ssl_ca_certs=str(authority.ca),
                socket_timeout=10,
                **options,
            )
            stack.callback(client.close)
            return client

        yield connect


@pytest.fixture
def tls_socket(authority: Authority) -> Iterator[Connect]:
    """A bare connection over TLS."""
    with ExitStack() as stack:

        def connect(
            to: Proxy | Address, context: ssl.SSLContext | None = None, name: str = "localhost"
        ) -> ssl.SSLSocket:
            address = to.address() if isinstance(to, Proxy) else to
            plain = socket.create_connection((address.host, address.port), timeout=10)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stack.callback(plain.close)
            secured = (context or authority.context()).wrap_socket(plain, server_hostname=name)
            stack.callback(secured.close)
            return secured

        yield connect


def read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def reason(proxy: Proxy, why: str) -> float:
    return proxy.metrics().get(f'shardproxy_connections_refused_total{{cluster="main",reason="{why}"}}', 0.0)


def test_large_values_and_pipelines_pass_both_ways(
    fleet: Fleet, secure: Proxy, tls_client: Callable[..., redis.Redis]
) -> None:
    client = tls_client(secure)
    value = bytes(range(256)) * (LARGE // 256)
    assert client.set("large", value)
    assert client.get("large") == value
    pipeline = client.pipeline(transaction=False)
    for number in range(20_000):
        pipeline.set(f"key:{number}", number)
    assert all(pipeline.execute())
    for number in range(20_000):
        pipeline.get(f"key:{number}")
    assert pipeline.execute() == [b"%d" % number for number in range(20_000)]


def test_messages_and_monitor_reach_their_readers(
    fleet: Fleet, secure: Proxy, tls_client: Callable[..., redis.Redis]
) -> None:
    subscriber, client = tls_client(secure).pubsub(), tls_client(secure)
    subscriber.subscribe("news")
    assert subscriber.get_message(timeout=10) is not None
    with tls_client(secure).monitor() as monitor:
        for number in range(100):
            client.publish("news", f"{number}" * 1000)
        for number in range(100):
            message = subscriber.get_message(timeout=10)
            assert message is not None
            assert message["data"] == b"%d" % number * 1000
        heard = (monitor.next_command()["command"] for _ in range(100))
        assert next(line for line in heard if line.startswith("PUBLISH")).startswith("PUBLISH news 000")
    subscriber.close()


def test_blocked_clients_and_transactions_are_served(
    fleet: Fleet, secure: Proxy, tls_client: Callable[..., redis.Redis]
) -> None:
    waiting, client = tls_client(secure), tls_client(secure)
    popped: list[Any] = []
    thread = threading.Thread(target=lambda: popped.append(waiting.blpop(["queue"], timeout=10)))
    thread.start()
    wait_until(lambda: secure.metrics()['shardproxy_clients_blocked{cluster="main"}'] == 1, "it waits")
    client.rpush("queue", "job")
    thread.join()
    assert popped == [(b"queue", b"job")]
    transaction = client.pipeline()
    transaction.set("{t}a", 1)
    transaction.incr("{t}a")
    assert transaction.execute() == [True, 2]


def test_records_of_one_byte_are_put_together(fleet: Fleet, secure: Proxy, tls_socket: Connect) -> None:
    sock = tls_socket(secure)
    for byte in b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\nGET a\r\n":
        sock.send(bytes([byte]))  # a record each
    assert read(sock, 16) == b"+OK\r\n$5\r\nhello\r\n"


def test_a_client_that_reads_late_gets_all(fleet: Fleet, secure: Proxy, tls_socket: Connect) -> None:
    sock = tls_socket(secure)
    value = b"v" * 100_000
    sock.sendall(b"*3\r\n$3\r\nSET\r\n$4\r\nlate\r\n$100000\r\n" + value + b"\r\n")
    assert read(sock, 5) == b"+OK\r\n"
    sock.sendall(b"GET late\r\n" * 200)
    time.sleep(0.3)  # what the sockets hold is full by then; nothing depends on it
    reply = b"$100000\r\n" + value + b"\r\n"
    for _ in range(200):
        assert read(sock, len(reply)) == reply
    sock.sendall(b"PING\r\n")
    assert read(sock, 7) == b"+PONG\r\n"


def test_what_is_sent_before_the_end_is_answered(fleet: Fleet, secure: Proxy, tls_socket: Connect) -> None:
    sock = tls_socket(secure)
    sock.sendall(b"PING\r\nQUIT\r\n")
    assert read(sock, 12) == b"+PONG\r\n+OK\r\n"
    assert sock.recv(10) == b"", "and the end is said: a broken one would raise"


def test_an_end_within_a_record_or_a_hello_is_noticed_at_once(secure: Proxy, authority: Authority) -> None:
    for shakes_hands in (True, False):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = authority.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with socket.create_connection((secure.address().host, secure.address().port), timeout=3) as sock:
            is_open = False
            while not is_open:
                with contextlib.suppress(ssl.SSLWantReadError):
                    session.do_handshake()
                    is_open = True
                if not shakes_hands:
                    break
                sock.sendall(outgoing.read())
                if not is_open:
                    incoming.write(sock.recv(LARGE))
            if is_open:
                session.write(b"PING\r\n")
            sock.send(outgoing.read()[:20], socket.MSG_MORE)  # so that both arrive as one
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(LARGE):
                pass


def test_redis_cli_and_sessions_that_go_on(fleet: Fleet, secure: Proxy, authority: Authority) -> None:
    command = ["redis-cli", "-p", str(secure.port), "--tls", "--cacert", str(authority.ca), "PING"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout == "PONG\n"
    name = 'shardproxy_tls_handshakes_total{cluster="main",outcome="resumed"}'
    before = secure.metrics()[name]
    done = openssl(secure, "-tls1_2", "-reconnect", stdin="")
    assert secure.metrics()[name] > before, done


def openssl(proxy: Proxy, *options: str, stdin: str = "PING\r\nQUIT\r\n") -> str:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{proxy.port}", *options]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(secure: Proxy, version: str) -> None:
    before = reason(secure, "handshake")
    said = openssl(secure, version, "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in said or "handshake failure" in said, said
    wait_until(lambda: reason(secure, "handshake") > before, "it is counted")
    assert "no version of TLS in common" in secure.log()


def test_a_version_may_be_demanded(
    session_fleet: Fleet, start_proxy: StartProxy, authority: Authority
) -> None:
    tls = {**authority.issue("strict"), "minimum": "1.3"}
    proxy = start_proxy(config_of(session_fleet, tls=tls, failover={"enabled": False}))
    assert "+PONG" in openssl(proxy, "-quiet")
    assert "+PONG" not in openssl(proxy, "-tls1_2", "-quiet")


def test_tls_1_2_is_served(secure: Proxy) -> None:
    assert "+PONG" in openssl(secure, "-tls1_2", "-quiet")


def test_who_speaks_no_tls_is_told(secure: Proxy, wire: Callable[..., Wire]) -> None:
    before = reason(secure, "handshake")
    client = wire(secure)
    client.send_command("PING")
    client.expect(b"-ERR this endpoint speaks TLS: use rediss:// or --tls\r\n")
    client.expect_closed()
    assert reason(secure, "handshake") == before + 1
    assert "a client without TLS where TLS is spoken" in secure.log()


def test_who_speaks_tls_where_it_is_not_spoken_is_told(
    session_fleet: Fleet, start_proxy: StartProxy, tls_socket: Connect, wire: Callable[..., Wire]
) -> None:
    plain = start_proxy(config_of(session_fleet, failover={"enabled": False}))
    with pytest.raises(ssl.SSLError):
        tls_socket(plain)
    client = wire(plain)
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    client.expect(b"-ERR Protocol error: this endpoint does not speak TLS\r\n")
    client.expect_closed()
    assert reason(plain, "handshake") == 2
    assert "TLS where it is not spoken" in plain.log()


def test_half_open_handshakes_hold_nobody_up(
    secure: Proxy, tls_socket: Connect, wire: Callable[..., Wire]
) -> None:
    with ExitStack() as stack:
        for _ in range(2500):
            sock = socket.create_connection((secure.host, secure.port), timeout=10)
            stack.callback(sock.close)
            sock.send(b"\x16\x03\x01\x02\x00\x01")
        good = tls_socket(secure)
        good.sendall(b"PING\r\n")
        assert read(good, 7) == b"+PONG\r\n"
        wait_until(lambda: reason(secure, "handshake_limit") > 0, "some gave way")
        # whoever is in is not among those who give way
        good.sendall(b"PING\r\n")
        assert read(good, 7) == b"+PONG\r\n"


def test_a_balancer_says_first_whose_connection_it_is(
    session_fleet: Fleet, start_proxy: StartProxy, authority: Authority
) -> None:
    config = config_of(session_fleet, tls=authority.issue("balanced"), failover={"enabled": False})
    endpoint = {"address": f"127.0.0.1:{free_port()}", "proxy_protocol": {"from": ["127.0.0.1"]}}
    config["clusters"]["main"]["endpoints"] = {"primary": endpoint}
    proxy = start_proxy(config)
    address = Address.parse(str(endpoint["address"]))
    with socket.create_connection((address.host, address.port), timeout=10) as plain:
        plain.sendall(b"PROXY TCP4 192.0.2.7 127.0.0.1 50000 6379\r\n")
        with authority.context().wrap_socket(plain, server_hostname="localhost") as sock:
            sock.sendall(b"CLIENT INFO\r\n")
            assert b"addr=192.0.2.7:50000" in sock.recv(1000)
    with socket.create_connection((address.host, address.port), timeout=10) as plain:
        plain.sendall(b"PROXY TCP4 192.0.2.8 127.0.0.1 50000 6379\r\nPING\r\n")
        assert read(plain, 30).startswith(b"-ERR this endpoint speaks TLS")
    wait_until(lambda: "192.0.2.8" in proxy.log(), "the log says who it was")


def test_plain_and_secure_endpoints_stand_side_by_side(
    session_fleet: Fleet,
    start_proxy: StartProxy,
    authority: Authority,
    tls_socket: Connect,
    wire: Callable[..., Wire],
) -> None:
    port = free_port()
    proxy = start_proxy(
        config_of(
            session_fleet,
            tls=authority.issue("beside"),
            tls_endpoints={"primary": f"127.0.0.1:{port}"},
            failover={"enabled": False},
        )
    )
    assert wire(proxy).ask("PING") == b"PONG"
    sock = tls_socket(Address("127.0.0.1", port))
    sock.sendall(b"PING\r\n")
    assert read(sock, 7) == b"+PONG\r\n"


def test_memcached_is_served(
    start_fleet: StartFleet,
    start_proxy: StartProxy,
    authority: Authority,
    tls_socket: Connect,
    wire: Callable[..., Wire],
) -> None:
    fleet = start_fleet(shards=2, replicas=0, engine=Engine.MEMCACHED)
    proxy = start_proxy(config_of(fleet, tls=authority.issue("memcached")))
    sock = tls_socket(proxy)
    value = b"v" * 500_000
    sock.sendall(b"set a 0 0 %d\r\n%s\r\nget a\r\n" % (len(value), value))
    assert read(sock, 8) == b"STORED\r\n"
    whole = b"VALUE a 0 %d\r\n%s\r\nEND\r\n" % (len(value), value)
    assert read(sock, len(whole)) == whole
    plain = wire(proxy)
    plain.send(b"get a\r\n")
    plain.expect(b"SERVER_ERROR this endpoint speaks TLS\r\n")
    plain.expect_closed()
