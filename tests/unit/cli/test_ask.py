"""What operators see: names, texts, exit codes. The proxy is an HTTP server with fixed answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from shardproxy.cli import ask, main
from shardproxy.cli.status import certificates, why_text
from tests.fixtures.certificates import Authority

TOPOLOGY = {
    "clusters": {
        "main": {
            "engine": "redis",
            "epoch": 3,
            "endpoints": ["127.0.0.1:7000"],
            "shards": [
                {
                    "index": number,
                    "name": name,
                    "slots": ["0-99"],
                    "nodes": [{"address": "a:1", "role": "primary", "zone": None, "connections": 1}],
                }
                for number, name in ((4, "users"), (6, None))
            ],
        }
    }
}
STATUS = {
    "clusters": {
        "main": {
            "is_paused": True,
            "shards": [
                {
                    "shard": number,
                    "name": name,
                    "state": "held",
                    "epoch": 1,
                    "nodes": [
                        {
                            "address": "a:1",
                            "role": "primary",
                            "state": "up",
                            "reason": "",
                            "since": 1.0,
                            "lag": 0,
                            "sync": None,
                            "zone": None,
                            "manager": None,
                        }
                    ],
                }
                for number, name in ((4, "users"), (6, None))
            ],
        }
    }
}
EVENTS = {
    "events": [
        {"time": "t", "cluster": "main", "shard": number, "shard_name": name, "name": "Alarm", "message": "m"}
        for number, name in ((4, "users"), (6, None), (None, None))
    ]
}
NOT_DONE = "not within 30 s: no proxy leads"


class FakeAdmin:
    """Where it listens, and what it was asked to do."""

    def __init__(self) -> None:
        self.delay = 0.0  # seconds until it answers
        self.asked: list[tuple[str, dict[str, Any]]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                time.sleep(fake.delay)
                pages = {"/api/topology": TOPOLOGY, "/api/status": STATUS}
                self._answer(200, pages.get(self.path, EVENTS))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                fake.asked.append((self.path, body))
                time.sleep(fake.delay)
                is_done = self.path in ("/api/acknowledge", "/api/pause", "/api/resume")
                self._answer(200, {"done": True}) if is_done else self._answer(409, {"error": NOT_DONE})

            def _answer(self, status: int, value: dict[str, Any]) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def admin() -> Iterator[FakeAdmin]:
    fake = FakeAdmin()
    thread = threading.Thread(target=fake.server.serve_forever)
    thread.start()
    try:
        yield fake
    finally:
        fake.server.shutdown()
        thread.join()
        fake.server.server_close()


def run(capsys: pytest.CaptureFixture[str], admin: FakeAdmin, *words: str) -> tuple[int, str, str]:
    code = main((*words, "--admin", admin.address))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("topology",), ["users", "6"]),
        (("status",), ["users", "6", "shard users: held", "shard 6: held"]),
        (("events",), ["t  main/users  Alarm: m", "t  main/6  Alarm: m", "t  main  Alarm: m"]),
    ],
)
def test_a_shard_is_shown_by_its_name_or_its_number(
    words: tuple[str, ...], shown: list[str], admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, admin, *words)
    assert code == 0
    assert all(text in out for text in shown)
    assert "4" not in "".join(line for line in out.splitlines() if "users" in line)


def test_status_says_what_paused_means(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, admin, "status")[1]
    assert "cluster main - paused" in said
    assert "paused: nothing is done to its nodes by itself" in said


@pytest.mark.parametrize("shard", ["users", "4"])
def test_what_was_not_done_is_said_with_exit_code_1(
    shard: str, admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ("switchover", "main", shard),
        ("failover", "main", shard, "--test"),
        ("failover", "main", shard, "--to", "a:1"),
    ):
        assert run(capsys, admin, *words) == (1, "", f"shardproxy: {NOT_DONE}\n")
    code, out, _ = run(capsys, admin, "failover", "main", shard, "--acknowledge")
    assert (code, out) == (0, "the next failover need not wait\n")
    assert [body["shard"] for _, body in admin.asked] == [shard] * 4


def test_an_action_is_waited_for_until_its_own_deadline(
    admin: FakeAdmin, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask.ACT_TIMEOUT > 30  # seconds, within which the proxy answers
    monkeypatch.setattr(ask, "TIMEOUT", 0.1)
    admin.delay = 0.5
    assert run(capsys, admin, "switchover", "main", "0") == (1, "", f"shardproxy: {NOT_DONE}\n")
    monkeypatch.setattr(ask, "ACT_TIMEOUT", 0.1)
    code, _, err = run(capsys, admin, "switchover", "main", "0")
    assert code == 1
    assert "what became of it is shown by shardproxy status and events" in err
    code, _, err = run(capsys, admin, "status")
    assert code == 1
    assert "has not answered within 0.1 s: try again" in err


def test_an_older_proxy_does_not_tell_what_a_node_is_busy_with() -> None:
    node = {"state": "down", "reason": "no answer for 1 s"}
    assert why_text(node) == "down: no answer for 1 s"
    busy = {"command": "script|load", "seconds": 2, "client": "client id 7"}
    assert why_text({**node, "busy": busy}) == f"{why_text(node)} (owes SCRIPT LOAD for 2 s, client id 7)"


def test_certificates_are_shown_with_their_ends() -> None:
    now = 1_800_000_000.0
    ends = {"long.crt": now + 100 * 86400, "soon.crt": now + 3 * 86400, "gone.crt": now - 60}
    cluster = {"certificates": [{"file": f, "name": "cache", "not_after": end} for f, end in ends.items()]}
    gone, soon, long = certificates(cluster, now)
    assert gone == "certificate for cache (gone.crt) has expired, until 2027-01-15 07:59 UTC"
    assert soon.startswith("certificate for cache (soon.crt) expires in 3d, ")
    assert "(long.crt) is valid, until 2027-04-25" in long
    assert certificates({}, now) == [], "an older proxy tells of none"


def test_who_speaks_no_tls_is_there_all_the_same(
    admin: FakeAdmin, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, admin, "status", "--cacert", str(authority.ca))
    assert code == 1
    assert "speaks no TLS that is trusted here" in err
    assert "--cacert names who vouches for it" in err
    assert "is it running?" not in err
