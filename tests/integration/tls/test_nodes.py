"""Nodes that speak TLS: commands, waits, messages, health, failover go by it; what is wrong is named."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import trio

from shardproxy.fleet import Fleet
from shardproxy.nodes import NodeLink, NodeTls, NodeUnreachable
from shardproxy.nodes.connection import Connection
from shardproxy.nodes.tls import TlsSocket
from tests.fixtures.certificates import YESTERDAY, Authority
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

RedisClient = Callable[..., redis.Redis]


def start(start_proxy: StartProxy, fleet: Fleet, node_tls: dict[str, Any], **options: Any) -> Proxy:
    config = config_of(fleet, node_tls=node_tls, **options)
    config["log"] = {"format": "json"}
    return start_proxy(config)


def test_all_goes_by_tls(
    start_fleet: StartFleet, start_proxy: StartProxy, authority: Authority, redis_client: RedisClient
) -> None:
    fleet = start_fleet(shards=2, replicas=1, tls=authority.engine(wants=True))
    own = authority.issue("proxy", "proxy.example")
    proxy = start(start_proxy, fleet, {"ca": str(authority.ca), **own}, reads={"from": "replica"})
    client = redis_client(proxy)
    value = bytes(range(256)) * 20_000
    assert client.set("large", value)
    wait_until(lambda: client.get("large") == value, "its replica has it")
    pipeline = client.pipeline(transaction=False)
    for number in range(5000):
        pipeline.set(f"key:{number}", number)
    assert all(pipeline.execute())
    popped: list[Any] = []
    waiting = redis_client(proxy)
    thread = threading.Thread(target=lambda: popped.append(waiting.blpop(["queue"], timeout=10)))
    thread.start()
    wait_until(lambda: proxy.metrics()['shardproxy_clients_blocked{cluster="main"}'] == 1, "it waits")
    client.rpush("queue", "job")
    thread.join()
    assert popped == [(b"queue", b"job")]
    subscriber = redis_client(proxy).pubsub()
    subscriber.subscribe("news")
    assert subscriber.get_message(timeout=10) is not None
    client.publish("news", "hello")
    message = subscriber.get_message(timeout=10)
    assert message is not None
    assert message["data"] == b"hello"
    subscriber.close()
    assert client.dbsize() >= 5000, "what the control plane answers, too"


def test_failover_goes_by_tls(
    start_fleet: StartFleet, start_proxy: StartProxy, authority: Authority, redis_client: RedisClient
) -> None:
    fleet = start_fleet(shards=1, replicas=1, tls=authority.engine())
    proxy = start(start_proxy, fleet, {"ca": str(authority.ca)})
    client = redis_client(proxy)
    assert client.set("a", "1")
    wait_until(
        lambda: int(fleet.shards[0].primary.info("replication")["connected_slaves"]) == 1,  # type: ignore[attr-defined]
        "the replica follows",
    )
    wait_until(lambda: "leading" in proxy.log(), "somebody decides")
    client.wait(1, 1000)
    fleet.shards[0].primary.kill()

    def is_back() -> bool:
        try:
            return bool(client.set("b", "2"))
        except redis.RedisError:
            return False

    wait_until(is_back, lambda: proxy.log(), timeout=15)
    assert client.get("a") == b"1"
    assert "promoted" in proxy.log() or "failover" in proxy.log()


async def ask(fleet: Fleet, tls: NodeTls | None) -> str:
    """What the control plane hears of the first node: a reply, or why none."""
    link = NodeLink(fleet.shards[0].primary.address, tls=lambda: tls)
    async with link:
        try:
            return str(await link.request("PING"))
        except NodeUnreachable as error:
            return error.why


@pytest.mark.parametrize(
    ("fault", "to_clients", "to_health"),
    [
        ("name", "its certificate is for node-7, not for 127.0.0.1", "not valid for '127.0.0.1'"),
        ("expired", "its certificate has expired", "certificate has expired"),
        ("ca", "its certificate is signed by an unknown CA", "self-signed certificate in certificate chain"),
        ("own", "it wants a certificate of ours", "certificate required|reset|broken pipe|closed within"),
    ],
)
def test_what_is_wrong_with_a_node_is_named(
    start_fleet: StartFleet,
    start_proxy: StartProxy,
    authority: Authority,
    redis_client: RedisClient,
    tmp_path: Path,
    fault: str,
    to_clients: str,
    to_health: str,
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    tls = authority.engine("node", "node-7" if fault == "name" else "127.0.0.1", wants=fault == "own")
    if fault == "expired":
        authority.issue("node", "127.0.0.1", lasts=-YESTERDAY)
    ca = other.ca if fault == "ca" else authority.ca
    fleet = start_fleet(shards=1, replicas=0, tls=tls)
    proxy = start(start_proxy, fleet, {"ca": str(ca)}, timeouts={"park": "300ms"})
    with pytest.raises(redis.RedisError) as raised:
        redis_client(proxy).set("a", "1")
    assert to_clients in str(raised.value)
    assert re.search(to_health, trio.run(ask, fleet, NodeTls(ca.read_text())))


def test_the_name_of_all_nodes_may_be_given(
    start_fleet: StartFleet, start_proxy: StartProxy, authority: Authority, redis_client: RedisClient
) -> None:
    fleet = start_fleet(shards=1, replicas=0, tls=authority.engine("node", "redis.example"))
    proxy = start(start_proxy, fleet, {"ca": str(authority.ca), "server_name": "redis.example"})
    assert redis_client(proxy).set("a", "1")


def test_a_node_may_sign_for_itself(
    start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path, redis_client: RedisClient
) -> None:
    import subprocess

    from shardproxy.fleet import EngineTls

    certificate, key = tmp_path / "self.crt", tmp_path / "self.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=self -days 2"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command.split(), *names, "-out", certificate, "-keyout", key], check=True, capture_output=True
    )
    fleet = start_fleet(shards=1, replicas=0, tls=EngineTls(certificate, key, certificate))
    proxy = start(start_proxy, fleet, {"ca": str(certificate)})
    assert redis_client(proxy).set("a", "1")
    assert trio.run(ask, fleet, NodeTls(certificate.read_text())) == "b'PONG'"


def test_nodes_that_speak_no_tls_and_those_that_speak_nothing_else_are_told_apart(
    start_fleet: StartFleet,
    start_proxy: StartProxy,
    authority: Authority,
    redis_client: RedisClient,
) -> None:
    short = {"park": "300ms", "connect": "500ms"}
    proxy = start(start_proxy, start_fleet(shards=1, replicas=0), {"ca": str(authority.ca)}, timeouts=short)
    with pytest.raises(redis.RedisError, match=r"does not speak TLS|no TLS session within"):
        redis_client(proxy).set("a", "1")
    fleet = start_fleet(shards=1, replicas=0, tls=authority.engine())
    plain = start_proxy(config_of(fleet, timeouts=short))
    with pytest.raises(redis.RedisError) as raised:
        redis_client(plain).set("a", "1")
    assert re.search(r"speaks TLS \(node_tls\)|closed the connection|reset", str(raised.value)), raised.value


@contextmanager
def session(
    authority: Authority, serving: ssl.SSLContext
) -> Iterator[tuple[Connection, Future[ssl.SSLSocket]]]:
    """A connection of the control plane's, and the node's end of it."""
    pair = authority.issue("node")
    serving.load_cert_chain(pair["certificate"], pair["key"])
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:
        ours = socket.create_connection(listener.getsockname())
        node = pool.submit(serving.wrap_socket, listener.accept()[0], server_side=True)
        with authority.context().wrap_socket(ours, server_hostname="localhost") as secured:
            secured.setblocking(False)
            yield Connection(TlsSocket(secured, ("127.0.0.1", 1)), 1000), node


def test_a_request_that_a_session_keeps_is_not_taken_for_one_that_was_not_sent(authority: Authority) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with session(authority, serving) as (connection, node), node.result(), pytest.raises(BlockingIOError):
        all(connection.send_nowait(bytes(1000)) for _ in range(1_000_000))


def test_a_fault_is_something_to_read(authority: Authority) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.verify_mode = ssl.CERT_REQUIRED  # in TLS 1.3 who shows none hears of it behind its own handshake
    serving.load_verify_locations(authority.ca)
    with session(authority, serving) as (connection, node):
        assert isinstance(node.exception(), ssl.SSLError)
        for _ in range(2):
            assert connection.is_readable
        for _ in range(2):
            with pytest.raises(ssl.SSLError):
                connection.receive_nowait([])
