"""Hot and large keys, slow requests, traces, explanations, advice, plans: canned documents as printed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shardproxy.cli import main

HOTKEYS = {
    "clusters": {
        "main": {
            "seconds": 30.0,
            "sample": 16,
            "sampled": 1234,
            "keys": [
                {
                    "key": "user:[7]",
                    "slot": 77,
                    "shard": 0,
                    "requests_per_second": 812.5,
                    "bytes_per_second": 20480.0,
                    "share": 0.61,
                    "reads": 0.99,
                }
            ],
            "slots": [{"slot": 77, "shard": 0, "requests_per_second": 900.0, "share": 0.7}],
            "families": [
                {
                    "family": "user:*",
                    "requests_per_second": 1000.0,
                    "bytes_per_second": 1.0,
                    "share": 0.8,
                    "shards": {"0": 0.9, "1": 0.2},
                }
            ],
        }
    }
}
BIGKEYS = {
    "clusters": {
        "main": {
            "keys": [
                {
                    "key": "cart:1",
                    "slot": 5,
                    "shard": 1,
                    "command": "HGETALL",
                    "request_bytes": 30,
                    "reply_bytes": 5 << 20,
                    "at": 1_800_000_000.0,
                }
            ]
        }
    }
}
SLOWLOG = {
    "clusters": {
        "main": {
            "threshold_us": 10000,
            "entries": [
                {
                    "id": 1,
                    "at": 1_800_000_000.0,
                    "microseconds": 15300,
                    "phases": {"waited": 300, "parked": None, "upstream": 1000, "engine": 14000, "client": 0},
                    "command": "sort",
                    "arguments": ["SORT", "list:1"],
                    "client": "10.0.0.9:1234",
                    "name": "web",
                    "user": "default",
                    "shard": 1,
                    "node": "10.0.1.1:7001",
                    "outcome": "ok",
                    "behind": {"command": "keys", "microseconds": 9000},
                }
            ],
        },
        "pages": {"threshold_us": None, "entries": []},
        "quiet": {"threshold_us": 10000, "entries": []},
    }
}
TRACED = [
    {
        "at": 1_800_000_000.25,
        "client": "10.0.0.9:1234",
        "user": "app",
        "command": "GET",
        "key": "user:1",
        "slot": 1,
        "shard": 0,
        "node": "10.0.0.1:7001",
        "microseconds": 420,
        "phases": {"upstream": 400},
        "request_bytes": 30,
        "reply_bytes": 5,
        "outcome": "error",
    },
    {"ended": "limit", "seen": 12, "dropped": 3},
]
SCANNED = [
    {"progress": {"scanned": 0, "of": 2, "shard": 0}},
    {"type": "hash", "keys": [{"key": "h", "shard": 0, "elements": 1200, "bytes": 4096}]},
    {"ended": True, "scanned": 2, "seconds": 0.5},
]
ADVICE = {
    "clusters": {
        "main": [
            {
                "name": "hot_key",
                "severity": "critical",
                "title": "one key takes 61% of the requests of shard 0: user:[7]",
                "figures": {"share": 0.61, "shard": 0},
                "advice": "No resharding cures it.",
            }
        ],
        "pages": [],
    }
}
EXPLAINED: dict[str, Any] = {
    "cluster": "main",
    "request": ["GET", "{u}1"],
    "endpoint": "configuration",
    "zone": "b",
    "outcome": "served",
    "text": "shard users serves it, by 10.0.0.2:7001: reads.from is nearest",
    "command": {
        "name": "get",
        "is_known": True,
        "route": "shard",
        "kind": "read",
        "is_slow": False,
        "note": "",
    },
    "access": {"user": "app", "is_allowed": True, "text": "its rules allow it"},
    "keys": [{"key": "{u}1", "slot": 5, "tag": "u", "family": None, "shard": 0}],
    "more_keys": 0,
    "parts": [
        {
            "shard": 0,
            "label": "users",
            "keys": 1,
            "outcome": "served",
            "text": "reads.from is nearest",
            "candidates": ["10.0.0.2:7001"],
            "nodes": [
                {
                    "address": "10.0.0.2:7001",
                    "role": "replica",
                    "zone": "b",
                    "state": "up",
                    "is_candidate": True,
                    "why_not": "",
                    "outstanding_bytes": 2048,
                    "lag": 0,
                }
            ],
        }
    ],
    "limits": {
        "request_bytes": 30,
        "request": 0,
        "client_output": 0,
        "in_flight": 1,
        "shard_queue": 1024,
        "timeouts": {"connect": 1.0, "reply": 5.0, "park": 3.0},
        "slow_after": 10.0,
    },
    "caching": {"match": "{u}*", "text": "it is loaded"},
    "near_cache": None,
    "read_your_writes": "for 1 s after a write",
    "without_primary": [
        {
            "shard": 0,
            "label": "users",
            "promoted": None,
            "why": "it has no replica",
            "refused": [{"address": "10.0.0.3:7001", "why": "loading"}],
            "reads_go_on_at": [],
            "text": "It would wait.",
        }
    ],
}
USAGE = {
    "clusters": {
        "main": {
            "engine": "redis",
            "seconds": 2.0,
            "clients": 1,
            "accepted_rate": 0.0,
            "requests_rate": 100.0,
            "zone": None,
            "shards": [
                {
                    "number": 0,
                    "label": "0",
                    "zones": [None, None],
                    "why_not": None,
                    "keys": 1000,
                    "used": 8 << 30,
                    "startup": 1 << 20,
                    "maxmemory": 0,
                    "policy": "noeviction",
                    "evicted": 0,
                    "evicted_rate": 0.0,
                    "commands_rate": 100.0,
                    "requests_rate": 100.0,
                    "bytes_rate": 1e5,
                    "cpu": 0.2,
                    "slots": ["0-16383"],
                    "sample": {"keys": 1, "slots": {"5": [1, 100]}},
                }
            ],
        },
        "pages": {"engine": "memcached", "shards": []},
    }
}
PAGES: dict[str, Any] = {
    "/api/hotkeys": HOTKEYS,
    "/api/bigkeys": BIGKEYS,
    "/api/slowlog": SLOWLOG,
    "/api/trace": TRACED,
    "/api/bigkeys/scan": SCANNED,
    "/api/advice": ADVICE,
    "/api/explain": EXPLAINED,
    "/api/usage": USAGE,
}


class Handler(BaseHTTPRequestHandler):
    asked: list[str]
    pages: dict[str, Any]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        page = self.pages.get(self.path.partition("?")[0])
        status, text = (404, "Not Found") if page is None else (200, json.dumps(page))
        if isinstance(page, list):
            text = "".join(json.dumps(line) + "\n" for line in page)
        if isinstance(page, dict) and "error" in page:
            status = 409
        data = text.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was asked of a proxy that has all pages."""
    monkeypatch.setattr(Handler, "asked", found := list[str](), raising=False)
    monkeypatch.setattr(Handler, "pages", dict(PAGES), raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    monkeypatch.setenv("SHARDPROXY_ADMIN", f"127.0.0.1:{server.server_port}")
    with server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


# a command line, what it asks, and what it says
CASES: dict[str, tuple[list[str], str, list[str]]] = {
    "hotkeys": (
        ["hotkeys", "main", "--by", "bytes", "--limit", "5"],
        "/api/hotkeys?cluster=main&by=bytes&limit=5",
        ["user:[7]", "61 %", "99 %", "812", "20.0 KiB", "1 in 16", "hot slot", "user:*", "0: 90 %, 1: 20 %"],
    ),
    "bigkeys": (["bigkeys"], "/api/bigkeys?limit=20", ["cart:1", "HGETALL", "5.0 MiB", "30 B"]),
    "bigkeys --scan": (
        ["bigkeys", "main", "--scan", "--rate", "9", "--samples", "7"],
        "/api/bigkeys/scan?cluster=main&rate=9&limit=20&samples=7",
        ["hash key", "1,200", "4.0 KiB", "2 keys scanned in 0.5 s"],
    ),
    "slowlog": (
        ["slowlog", "--limit", "3"],
        "/api/slowlog?limit=3",
        ["15ms", "engine 14ms, upstream 1.0ms, waited 300us", "SORT list:1", "10.0.0.9:1234 web default"]
        + ["behind keys 9.0ms", "pages: off", "quiet: slower than 10ms: none"],
    ),
    "trace": (
        ["trace", "main", "--match", "user:*", "--seconds", "2", "--limit", "12"],
        "/api/trace?cluster=main&match=user%3A%2A&seconds=2&limit=12",
        ["GET user:1  0@10.0.0.1:7001", "420us", "error", "12 seen, 3 of them not shown", "--limit"],
    ),
    "advice": (
        ["advice"],
        "/api/advice",
        ["critical", "user:[7]", "No resharding cures it.", "share 0.61", "pages: nothing to say"],
    ),
    "explain": (
        ["explain", "main", "--user", "app", "--zone", "b", "--", "GET", "{u}1", "--x"],
        "/api/explain?cluster=main&arg=GET&arg=%7Bu%7D1&arg=--x&user=app&zone=b",
        [
            "served",
            "slot 5, by its hash tag {u}, shard 0",
            "app: its rules allow it",
            "10.0.0.2:7001",
            "2.0 KiB",
            "it is loaded",
            "10 s for its reply",
            "Nobody would be promoted: it has no replica.",
            "10.0.0.3:7001 would not be promoted: loading",
        ],
    ),
}


@pytest.mark.parametrize(("words", "path", "parts"), CASES.values(), ids=CASES.keys())
def test_what_is_asked_and_said(
    asked: list[str], words: list[str], path: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert asked == [path]
    said = capsys.readouterr().out
    for part in parts:
        assert part in said or part in " ".join(said.split()), part  # a cell may be folded


@pytest.mark.parametrize("name", ["hotkeys", "bigkeys", "slowlog", "advice"])
def test_json_is_the_document(asked: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == PAGES[f"/api/{name}"]


@pytest.mark.parametrize(
    ("words", "page"),
    [(["trace", "main"], "/api/trace"), (["bigkeys", "main", "--scan"], "/api/bigkeys/scan")],
)
def test_what_streams_is_an_object_a_line(
    asked: list[str], words: list[str], page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--output", "json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == PAGES[page]


def test_a_plan_shows_both_and_what_it_costs(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "types.yaml"
    file.write_text(
        "currency: EUR\nas_of: today\nreserved_memory: 0.5\n"
        "node_types: {small: {memory: 4, vcpu: 2, network: 1, on_demand: 0.1}}\n"
    )
    words = ["plan", "main", "--shards", "2", "--node-type", "small", "--node-types", str(file)]
    assert main(words) == 0
    said = capsys.readouterr().out
    for part in ("main now: 1 shards", "2 shards, 4 nodes of small", "on demand 292.00 EUR (prices: today)"):
        assert part in said, part
    assert "full, and over 80% is too full" in said
    assert "shardproxy scale main --shards 2 does it" in said
    assert asked[0] == "/api/usage?cluster=main&sample=10000"
    assert main([*words, "--output", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["costs_per_month"] == {"on_demand": 292.0, "reserved": None}
    assert [one["slots"] for one in document["after"]] == [8192, 8192]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["plan", "main", "--node-type", "small"], "--node-types FILE"),
        (["plan", "pages"], "pages has no slots"),
        (["plan", "main", "--node-type", "x", "--node-types", "/nowhere.yaml"], "no such file"),
        (["explain", "main"], "which request?"),
        (["bigkeys", "--scan"], "name the cluster to scan"),
    ],
)
def test_what_is_missing_is_said(
    asked: list[str],
    words: list[str],
    why: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    assert why in capsys.readouterr().err


def test_a_request_that_is_refused_ends_with_1(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Handler.pages["/api/explain"] = {**EXPLAINED, "outcome": "refused", "text": "CROSSSLOT Keys", "parts": []}
    assert main(["explain", "main", "--", "MGET", "a", "b"]) == 1
    assert "CROSSSLOT" in capsys.readouterr().out


def test_a_proxy_without_the_page_is_told_of(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Handler.pages.clear()
    assert main(["hotkeys"]) == 1
    assert "has no page /api/hotkeys: is it an older proxy?" in capsys.readouterr().err
    assert main(["trace", "main"]) == 1
    assert "has no page /api/trace" in capsys.readouterr().err


def test_a_scan_that_is_refused_says_why(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Handler.pages["/api/bigkeys/scan"] = {"error": "main is scanned already"}
    assert main(["bigkeys", "main", "--scan"]) == 1
    assert capsys.readouterr().err == "shardproxy: main is scanned already\n"
