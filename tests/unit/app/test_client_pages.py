"""Clients over HTTP: found by what they are, and closed by their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from shardproxy.admin.clients import MAX_KILLED, ClientPages
from shardproxy.admin.http import HEADERS
from tests.unit.app.test_jobs_pages import Audited

ROWS = (
    {"id": 1, "address": "10.0.0.1:5", "cluster": "a", "name": b"Web-1", "user": "app", "command": "get"},
    {"id": 2, "address": "10.0.0.2:5", "cluster": "a", "name": b"", "user": "jobs", "command": "blpop"},
    {"id": 3, "address": "10.0.0.3:5", "cluster": "b", "name": b"web-2", "user": "app", "command": "set"},
)


class Site:
    def __init__(self) -> None:
        self.audit, self.killed = Audited(), list[int]()
        self.fails = False

        async def clients() -> tuple[Mapping[str, Any], ...]:
            return ROWS

        async def kill(ids: Iterable[int]) -> int:
            if self.fails:
                raise OSError("the workers are gone")
            self.killed += ids
            return len([one for one in self.killed if one <= len(ROWS)])

        pages = ClientPages(clients, kill, self.audit, HEADERS)
        app = Starlette(routes=pages.routes)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")

    async def find(self, asked: str) -> list[int]:
        document = (await self.client.get(f"/api/clients{asked}")).json()
        assert document["total"] == len(document["clients"])
        return [client["id"] for client in document["clients"]]


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ("", [1, 2, 3]), ("?match=WEB", [1, 3]), ("?match=web&cluster=a", [1]), ("?cluster=b", [3]),
        ("?match=10.0.0.2", [2]), ("?match=blpop", [2]), ("?match=nobody", []), ("?cluster=c", []),
    ],
)  # fmt: skip
async def test_clients_are_found_by_what_they_are(asked: str, ids: list[int]) -> None:
    assert await Site().find(asked) == ids


async def test_clients_are_closed_and_that_is_audited() -> None:
    site = Site()
    answer = await site.client.post("/api/clients/kill", json={"ids": [1, 3, 9]})
    assert (answer.status_code, answer.json()) == (200, {"killed": 2})
    assert site.killed == [1, 3, 9]
    (noted,) = site.audit.noted
    assert (noted["kind"], noted["action"], noted["why"]) == ("admin_action", "clients/kill", "")
    assert (noted["count"], noted["ids"], noted["killed"]) == (3, "1, 3, 9", 2)


async def test_all_who_are_meant_are_audited() -> None:
    site, ids = Site(), list(range(10**17, 10**17 + MAX_KILLED))
    await site.client.post("/api/clients/kill", json={"ids": ids})
    (noted,) = site.audit.noted
    assert noted["ids"] == ", ".join(map(str, ids))


async def test_who_was_to_be_closed_is_audited_whatever_becomes_of_it() -> None:
    site = Site()
    site.fails = True
    with pytest.raises(OSError, match="workers"):
        await site.client.post("/api/clients/kill", json={"ids": [2]})
    (noted,) = site.audit.noted
    assert (noted["ids"], noted["killed"]) == ("2", "")
    assert noted["why"] == "it was not finished: how many are closed is not known"


@pytest.mark.parametrize(
    "body",
    [{}, {"ids": 1}, {"ids": []}, {"ids": ["1"]}, {"ids": [True]}, {"ids": [0]}, {"ids": [1 << 63]},
     {"ids": list(range(1, MAX_KILLED + 2))}],
)  # fmt: skip
async def test_what_names_no_clients_closes_none(body: dict[str, Any]) -> None:
    site = Site()
    answer = await site.client.post("/api/clients/kill", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("ids: ")
    assert site.killed == []
    assert site.audit.noted[0]["why"] != ""
