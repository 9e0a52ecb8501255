"""Logins that are verified in the control plane, from a client's AUTH to its first GET; our own at nodes."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until
from tests.unit.access.tokens import CLUSTER, KEY_ID, REGION, SECRET, USER, Provider, token_of

NEVER = Retry(NoBackoff(), 0)
OK = b"+OK\r\n"
WRONGPASS = "invalid username-password pair or user is disabled"

KEYS = """\
account: "123456789012"
keys:
  - access_key_id: ID
    secret_access_key: SECRET
    principal: arn:aws:iam::123456789012:role/app
    policies:
      - effect: allow
        actions: [elasticache:Connect]
        resources:
          - arn:aws:elasticache:us-east-1:123456789012:replicationgroup:my-cache
          - arn:aws:elasticache:us-east-1:123456789012:user:iam-*
"""

StartFleet = Callable[..., Fleet]


def keys_text(key_id: str = KEY_ID, secret: str = SECRET) -> str:
    return KEYS.replace("ID", key_id, 1).replace("SECRET", secret, 1)


def connect(proxy: Proxy, provider: redis.CredentialProvider, **options: Any) -> redis.Redis:
    return redis.Redis(proxy.host, proxy.port, credential_provider=provider, retry=NEVER, **options)


class Other(Provider):
    """Gives any name and secret."""

    def __init__(self, user: str, secret: str) -> None:
        super().__init__()
        self._given = user, secret

    def get_credentials(self) -> tuple[str, str]:
        return self._given


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "iam.yaml"
    path.write_text(keys_text())
    return path


def with_access(fleet: Fleet, keys: Path, **more: Any) -> dict[str, Any]:
    users = [{"name": USER, "iam": True}, {"name": "iam-reader", "iam": True, "preset": "read-only"}]
    users.append({"name": "other", "iam": True})
    iam = {"keys": str(keys), "cluster": CLUSTER, "region": REGION, **more}
    return config_of(fleet, access={"users": users, "iam": iam}, failover={"enabled": False})


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_client_logs_in_by_its_token(
    start_fleet: StartFleet, start_proxy: StartProxy, keys: Path, protocol: int
) -> None:
    proxy = start_proxy(with_access(start_fleet(shards=2, replicas=0), keys))
    with connect(proxy, Provider(), protocol=protocol) as client:
        assert client.set("key", "value")
        assert client.get("key") == b"value"
        assert client.execute_command("ACL", "WHOAMI") in (USER.encode(), USER)
        # and anew on the same connection
        assert client.execute_command("AUTH", *Provider().get_credentials())
    with connect(proxy, Provider("iam-reader"), protocol=protocol) as client:
        assert client.execute_command("ACL", "WHOAMI") in (b"iam-reader", "iam-reader")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("key", "other")


def test_whoever_has_no_token_for_it_stays_out(
    start_fleet: StartFleet, start_proxy: StartProxy, keys: Path
) -> None:
    proxy = start_proxy(with_access(start_fleet(shards=1, replicas=0), keys))
    good = Provider().get_credentials()[1]
    expired = token_of(time.time() - 1300).decode()
    for provider in (
        Other(USER, good[:-1] + ("0" if good[-1] != "0" else "1")),
        Other(USER, expired),
        Other("other", good),
        Other(USER, "hunter2"),
        Other("default", good),
        Provider(cluster="another"),
        Provider("other"),  # no policy allows it
        Provider(region="eu-central-1"),
        Provider(service="memorydb"),
        Provider(is_serverless=True),
        Provider(session="session"),
    ):
        with (
            connect(proxy, provider) as client,
            pytest.raises(redis.exceptions.AuthenticationError) as caught,
        ):
            client.ping()
        assert WRONGPASS in str(caught.value)
    assert good[-30:] not in proxy.log()
    with (
        redis.Redis(proxy.host, proxy.port, retry=NEVER) as nobody,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        nobody.get("key")


def test_keys_that_change_count_at_once_and_wrong_ones_change_nothing(
    start_fleet: StartFleet, start_proxy: StartProxy, keys: Path
) -> None:
    proxy = start_proxy(with_access(start_fleet(shards=1, replicas=0), keys))

    def is_in() -> bool:
        try:
            with connect(proxy, Provider()) as client:
                return bool(client.ping())
        except redis.exceptions.AuthenticationError:
            return False

    assert is_in()
    stays = connect(proxy, Provider(), single_connection_client=True)
    assert stays.ping()
    keys.write_text("keys: 5\n")
    wait_until(lambda: "config refused, the old one stays" in proxy.log(), "the file is refused")
    assert f"{keys}:1:" in proxy.log()
    assert is_in()
    keys.write_text(keys_text(secret="another"))
    wait_until(lambda: not is_in(), "the old secret counts no more")
    assert stays.ping(), "who is in stays in"
    keys.write_text(keys_text())
    wait_until(is_in, "the secret counts again")
    stays.close()


def test_a_proxy_does_not_start_on_a_key_store_that_is_wrong(
    start_fleet: StartFleet, start_proxy: StartProxy, keys: Path
) -> None:
    keys.write_text(KEYS.replace("principal", "pricipal"))
    proxy = start_proxy(with_access(start_fleet(shards=1, replicas=0), keys), wait=False)
    assert proxy.wait() == 1
    assert f"{keys}:5:5: keys[0].pricipal: is not a known key (did you mean principal?)" in proxy.log()
    assert SECRET not in proxy.log()


def test_a_session_ends_unless_it_is_prolonged(
    start_fleet: StartFleet, start_proxy: StartProxy, keys: Path
) -> None:
    proxy = start_proxy(with_access(start_fleet(shards=1, replicas=0), keys, session="1s"))
    left, kept = (connect(proxy, Provider(), single_connection_client=True) for _ in range(2))
    ids = left.client_id(), kept.client_id()

    def is_cut() -> bool:
        kept.execute_command("AUTH", *Provider().get_credentials())
        return int(ids[0]) not in [int(client["id"]) for client in kept.client_list()]

    wait_until(is_cut, "whose login is old is cut off")
    assert kept.client_id() == ids[1]
    left.close()
    kept.close()


# --- external verifiers ---


class Service(BaseHTTPRequestHandler):
    """Lets `app` in with the password of the moment."""

    password = "good"
    asked: list[dict[str, str]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        content = json.dumps({"allow": body["secret"] == self.password}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[tuple[str, type[Service]]]:
    class Mine(Service):
        pass

    Mine.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Mine) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}/", Mine
        http.shutdown()
        thread.join()


def test_a_service_decides_about_passwords(
    start_fleet: StartFleet, start_proxy: StartProxy, service: tuple[str, type[Service]]
) -> None:
    url, of = service
    access = {"users": [{"name": "app", "external": True}], "verifier": {"url": url, "cache": "1h"}}
    proxy = start_proxy(config_of(start_fleet(shards=1, replicas=0), access=access))
    for _ in range(3):
        with redis.Redis(proxy.host, proxy.port, username="app", password="good") as client:
            assert client.ping()
            assert client.execute_command("ACL", "WHOAMI") == b"app"
    with (
        redis.Redis(proxy.host, proxy.port, username="app", password="bad", retry=NEVER) as client,
        pytest.raises(redis.exceptions.AuthenticationError, match=WRONGPASS),
    ):
        client.ping()
    asked = [(body["cluster"], body["user"], body["secret"]) for body in of.asked]
    assert asked == [("main", "app", "good"), ("main", "app", "bad")]
    assert of.asked[0]["address"].startswith("127.0.0.1:")


# --- those who are not let in ---


def auth(proxy: Proxy, user: str, secrets: Iterable[str], source: str = "127.0.0.1") -> list[bytes]:
    """What is answered to one AUTH after the other, from an address of this machine."""
    where = (source, 0)
    with (
        socket.create_connection((proxy.host, proxy.port), 10, where) as client,
        client.makefile("rb") as read,
    ):
        answers = []
        for secret in secrets:
            words = (b"AUTH", user.encode(), secret.encode())
            client.sendall(b"*3\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
            answers.append(read.readline())
        return answers


def test_whoever_fails_shuts_no_user_of_tokens_out(
    start_fleet: StartFleet, start_proxy: StartProxy, keys: Path
) -> None:
    proxy = start_proxy(with_access(start_fleet(shards=1, replicas=0), keys))
    assert OK not in auth(proxy, USER, ["hunter2"] * 1500)
    assert auth(proxy, USER, [Provider().get_credentials()[1]] * 50) == [OK] * 50


def test_whoever_guesses_is_not_asked_about_for_long_and_others_are(
    start_fleet: StartFleet, start_proxy: StartProxy, service: tuple[str, type[Service]]
) -> None:
    url, of = service
    access = {"users": [{"name": "app", "external": True}], "verifier": {"url": url}}
    proxy = start_proxy(config_of(start_fleet(shards=1, replicas=0), access=access))
    assert auth(proxy, "app", ["good"], "127.0.0.3") == [OK]
    assert OK not in auth(proxy, "app", [f"guess{number}" for number in range(100)], "127.0.0.3")
    assert 20 <= len(of.asked) - 1 < 30
    assert auth(proxy, "app", ["good"], "127.0.0.3") == [OK], "who was in before is"
    assert auth(proxy, "app", ["good"], "127.0.0.2") == [OK]


# --- our own logins ---


def test_nodes_are_logged_in_to_by_tokens(
    start_fleet: StartFleet, start_proxy: StartProxy, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    fleet = start_fleet(shards=2, replicas=0, password="hunter2")
    for node in fleet.nodes:  # a real Redis knows no tokens: as this user any will do, but none will not
        assert isinstance(node, RedisNode)
        node.ask("ACL", "SETUSER", "proxy", "on", "nopass", "~*", "&*", "+@all")
    iam = {
        "user": "proxy",
        "cluster": CLUSTER,
        "region": "us-east-1",
        "access_key_id": KEY_ID,
        "secret_access_key": {"file": str(secret)},
    }
    proxy = start_proxy(config_of(fleet, node_auth={"iam": iam}, failover={"enabled": False}))
    with redis.Redis(proxy.host, proxy.port) as client:
        for number in range(20):
            assert client.set(f"key{number}", number)
            assert client.get(f"key{number}") == str(number).encode()
        assert client.info()["proxy_shards_unreachable"] == 0
    node = fleet.nodes[0]
    assert isinstance(node, RedisNode)
    assert "user=proxy" in str(node.ask("CLIENT", "LIST"))
    assert "Signature" not in proxy.log()
