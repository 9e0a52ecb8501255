"""What is hot and large, as the admin API tells it."""

from __future__ import annotations

from typing import Any

import pytest

from shardproxy.admin.hot_document import big_document, hot_document
from shardproxy.dataplane.hot import Hot, big_read
from tests.unit.app.test_admin import Admin, running_admin


def key(name: str, requests: float, size: float, **fields: Any) -> dict[str, Any]:
    return {
        "key": name,
        "is_cut": False,
        "slot": 7,
        "shard": 0,
        "requests_per_second": requests,
        "bytes_per_second": size,
        "share": 0.5,
        "reads": 1.0,
        **fields,
    }


HOT = {
    "seconds": 22.512,
    "sample": 16,
    "sampled": 1234,
    "by_requests": [key("user:1", 100, 10), key("caf\u00c3\u00a9\u0000", 50, 500, slot=None, is_cut=True)],
    "by_bytes": [key("big", 1, 9000)],
    "slots": [{"slot": 7, "shard": 0, "requests_per_second": 150.0, "share": 0.75}],
    "families": [
        {
            "family": "user:*",
            "requests_per_second": 100.0,
            "bytes_per_second": 10.0,
            "share": 0.66666,
            "reads": 1.0,
            "shards": {"0": 0.5},
        }
    ],
}
BIG = {
    "key": "list",
    "is_cut": False,
    "slot": 3,
    "shard": 1,
    "command": "lrange",
    "request_bytes": 40,
    "reply_bytes": 70_000,
    "at": 1_700_000_000.1234,
}


def test_the_document_is_as_consumers_expect() -> None:
    document = hot_document(Hot.read(HOT), "requests", 100)
    assert document["seconds"] == 22.512
    assert (document["sample"], document["sampled"]) == (16, 1234)
    first, second = document["keys"]
    assert first == {
        "key": "user:1",
        "slot": 7,
        "shard": 0,
        "requests_per_second": 100,
        "bytes_per_second": 10,
        "share": 0.5,
        "reads": 1.0,
    }
    assert (second["key"], second["slot"]) == ("café\\x00…", None)
    assert document["slots"] == [{"slot": 7, "shard": 0, "requests_per_second": 150.0, "share": 0.75}]
    assert document["families"][0]["share"] == 0.6667
    assert document["families"][0]["shards"] == {"0": 0.5}


def test_another_order_has_other_keys_and_no_more_than_asked_for() -> None:
    assert [one["key"] for one in hot_document(Hot.read(HOT), "bytes", 100)["keys"]] == ["big"]
    assert [one["key"] for one in hot_document(Hot.read(HOT), "requests", 1)["keys"]] == ["user:1"]


def test_large_keys_say_when_and_how() -> None:
    [told] = big_document(big_read([BIG]), 10)["keys"]
    assert told == {
        "key": "list",
        "slot": 3,
        "shard": 1,
        "command": "lrange",
        "request_bytes": 40,
        "reply_bytes": 70_000,
        "at": 1_700_000_000.123,
    }


def give(admin: Admin) -> None:
    admin.native.hot_keys = HOT
    admin.native.big_keys = [BIG]


async def test_pages_tell_it_of_each_cluster() -> None:
    async with running_admin() as admin:
        give(admin)
        hot = (await admin.get("/api/hotkeys")).json()["clusters"]
        assert hot["main"]["keys"][0]["key"] == "user:1"
        hot = (await admin.get("/api/hotkeys?cluster=main&by=bytes&limit=5")).json()["clusters"]
        assert hot["main"]["keys"][0]["key"] == "big"
        big = (await admin.get("/api/bigkeys?cluster=main")).json()["clusters"]
        assert big["main"]["keys"][0]["command"] == "lrange"


@pytest.mark.parametrize(
    ("path", "status", "why"),
    [
        ("/api/hotkeys?cluster=nope", 404, "main"),
        ("/api/bigkeys?cluster=nope", 404, "main"),
        ("/api/hotkeys?by=size", 400, "requests, bytes"),
        ("/api/hotkeys?limit=0", 400, "1000"),
        ("/api/bigkeys?limit=x", 400, "1000"),
    ],
)
async def test_what_cannot_be_answered_is_told_why(path: str, status: int, why: str) -> None:
    async with running_admin() as admin:
        answer = await admin.get(path)
        assert answer.status_code == status
        assert why in answer.json()["error"]
