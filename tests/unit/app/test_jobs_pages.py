"""Long work over HTTP: what is answered, what is refused, and that it is audited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from shardproxy.access.audit import Audit, Field
from shardproxy.admin.http import HEADERS
from shardproxy.admin.jobs import JobPages
from shardproxy.jobs.interface import JobError, Work
from tests.unit.jobs.make import CLUSTER, Desk, Toy, job_desk


class Picky(Toy):
    async def plan(self, desk: object, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        if "shards" not in wants:
            raise JobError("say how many shards")
        return {"lines": ["two more"]}


class Audited(Audit):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[dict[str, Field]] = []

    def note(self, event: str, **fields: Field) -> None:
        self.noted.append({"kind": event, **fields})


async def nothing(work: Work) -> Mapping[str, Any]:
    return {}


class Site:
    def __init__(self) -> None:
        self.desk, self.audit = Desk(), Audited()
        jobs = job_desk(self.desk, Picky(nothing))
        app = Starlette(routes=JobPages(jobs, self.audit, HEADERS).routes)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")

    async def post(self, name: str, **body: Any) -> tuple[int, dict[str, Any]]:
        answer = await self.client.post(f"/api/jobs/{name}", json=body)
        return answer.status_code, answer.json()


async def test_a_job_is_planned_asked_for_shown_and_given_up() -> None:
    site = Site()
    asked = {"cluster": CLUSTER, "kind": "toy", "wants": {"shards": 4}}
    assert await site.post("plan", **asked) == (200, {"plan": {"lines": ["two more"]}})
    status, answer = await site.post("start", **asked)
    assert (status, answer["job"]["state"], answer["job"]["is_over"]) == (200, "asked", False)
    assert await site.post("start", **asked) == (
        409,
        {"error": "toy 1 of sessions is asked: one at a time; shardproxy jobs sessions shows it"},
    )
    for wish, state in (("pause", "paused"), ("resume", "asked"), ("abort", "aborted")):
        status, answer = await site.post(wish, cluster=CLUSTER)
        assert (status, answer["job"]["state"]) == (200, state)
    shown = (await site.client.get(f"/api/jobs?cluster={CLUSTER}")).json()["jobs"]
    assert [(job["id"], job["state"], job["wants"]) for job in shown] == [("1", "aborted", {"shards": 4})]
    assert "memo" not in shown[0]
    assert (await site.client.get("/api/jobs?cluster=other")).json() == {"jobs": []}
    assert [(one["action"], one["why"] == "") for one in site.audit.noted] == [
        ("jobs/plan", True),
        ("jobs/start", True),
        ("jobs/start", False),
        ("jobs/pause", True),
        ("jobs/resume", True),
        ("jobs/abort", True),
    ]


@pytest.mark.parametrize(
    ("name", "body", "status", "why"),
    [
        ("plan", {"cluster": CLUSTER, "kind": "toy"}, 409, "say how many shards"),
        ("start", {"cluster": "x", "kind": "toy"}, 409, "no cluster 'x'"),
        ("start", {"cluster": CLUSTER, "kind": "toy", "wants": [1]}, 400, "wants: send a JSON object"),
        ("start", {"cluster": CLUSTER}, 400, "kind: send a text"),
        ("pause", {}, 400, "cluster: send a text"),
        ("abort", {"cluster": CLUSTER, "id": 9}, 409, "sessions has no job 9"),
        ("abort", {"cluster": CLUSTER, "id": "../1"}, 409, "is no number of a job"),
    ],
)
async def test_refusals_say_why(name: str, body: dict[str, Any], status: int, why: str) -> None:
    answered, answer = await Site().post(name, **body)
    assert answered == status
    assert why in answer["error"]


async def test_a_store_that_is_away_is_said() -> None:
    site = Site()
    site.desk.is_down = True
    asked = {"cluster": CLUSTER, "kind": "toy"}
    assert await site.post("start", **asked) == (
        409,
        {"error": "nothing was done: the store is not available: no quorum"},
    )


@pytest.mark.parametrize("value", ["NaN", "-Infinity", r'"\ud800"', "[" * 20_000, "1e999"])
async def test_what_cannot_be_sent_back_is_refused(value: str) -> None:
    site = Site()
    body = f'{{"cluster": "{CLUSTER}", "kind": "toy", "wants": {{"shards": 1, "x": {value}}}}}'
    for name in ("start", "plan"):
        answer = await site.client.post(
            f"/api/jobs/{name}", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400, answer.text
    assert not site.desk.notes


async def test_a_list_of_hundreds_of_files_can_be_sent() -> None:
    site = Site()
    files = [f"/var/lib/exported/{'x' * 60}-{number}.rdb" for number in range(400)]
    status, said = await site.post("start", cluster=CLUSTER, kind="toy", wants={"shards": 1, "rdb": files})
    assert status == 200, said
