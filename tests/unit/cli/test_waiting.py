"""Long work on the command line: the plan, how far it is, what became of it, and with which exit code."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from rich.console import Console

from shardproxy.cli import main, waiting
from shardproxy.cli.ask import Proxy
from shardproxy.cli.status import complaints
from shardproxy.cli.waiting import progress_text, submit

REFUSED = "shard-3 has no room"


def job(state: str, done: int = 0, **fields: Any) -> dict[str, Any]:
    is_over = state in ("done", "failed", "aborted")
    progress = {"stage": "copying", "what": "keys", "done": done, "total": 1000, "text": "8 MB/s"}
    return {
        "id": "7",
        "cluster": "main",
        "kind": "reshard",
        "state": state,
        "is_over": is_over,
        "asked_at": 1_800_000_000.0,
        "began_at": 1_800_000_001.0,
        "ended_at": 1_800_000_013.5 if is_over else 0.0,
        "progress": progress,
        "why": "",
        "result": {},
        **fields,
    }


class FakeAdmin:
    """Answers each look with the next of `looks`; None closes the connection instead."""

    def __init__(self) -> None:
        self.looks: list[dict[str, Any] | None] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.refuses: str | None = None
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                look = fake.looks.pop(0) if len(fake.looks) > 1 else fake.looks[0]
                if look is not None:
                    self._answer(200, {"jobs": [job("done", id="6", result={"text": "older"}), look]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                fake.asked.append((self.path, body))
                name = self.path.rsplit("/", 1)[1]
                if fake.refuses == name:
                    self._answer(409, {"error": REFUSED})
                elif name == "plan":
                    self._answer(200, {"plan": {"lines": ["4 slots to shard-3", "about 12 s"], "slots": 4}})
                else:
                    self._answer(200, {"job": job("paused" if name == "pause" else "asked")})

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

    @property
    def proxy(self) -> Proxy:
        return Proxy(self.address)


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAdmin]:
    monkeypatch.setattr(waiting, "POLL", 0.001)
    fake = FakeAdmin()
    thread = threading.Thread(target=fake.server.serve_forever)
    thread.start()
    try:
        yield fake
    finally:
        fake.server.shutdown()
        thread.join()
        fake.server.server_close()


Capture = pytest.CaptureFixture[str]
RUNNING = [job("running", done) for done in (0, 100, 400)]


@pytest.mark.parametrize(
    ("last", "code", "said"),
    [
        (job("done", result={"text": "4 slots moved"}), 0, "reshard 7 of main: done: 4 slots moved (12.5 s)"),
        (job("failed", why=REFUSED), 1, f"reshard 7 of main: failed: {REFUSED} (12.5 s)"),
        (job("aborted"), 3, "reshard 7 of main: aborted (12.5 s)"),
    ],
)
def test_it_is_waited_for_until_it_is_over(
    last: dict[str, Any], code: int, said: str, admin: FakeAdmin, capsys: Capture
) -> None:
    admin.looks = [*RUNNING, None, last]
    assert submit(admin.proxy, "main", "reshard", {"slots": 4}) == code
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[:2] == ["4 slots to shard-3", "about 12 s"]
    assert lines[2].endswith(" running: copying, 0 % (0 of 1000 keys), 8 MB/s")
    assert sum("running" in line for line in lines) == 1, "a line a stage, or each ten seconds"
    assert lines[3].endswith(" no proxy answers")
    assert said in (err if code == 1 else out)
    assert [path for path, _ in admin.asked] == ["/api/jobs/plan", "/api/jobs/start"]
    assert all(
        body == {"cluster": "main", "kind": "reshard", "wants": {"slots": 4}} for _, body in admin.asked
    )


def test_a_plan_alone_does_nothing(admin: FakeAdmin, capsys: Capture) -> None:
    assert submit(admin.proxy, "main", "reshard", {}, plan=True) == 0
    assert capsys.readouterr().out == "4 slots to shard-3\nabout 12 s\n"
    assert submit(admin.proxy, "main", "reshard", {}, plan=True, output="json") == 0
    assert json.loads(capsys.readouterr().out)["plan"]["slots"] == 4
    assert {path for path, _ in admin.asked} == {"/api/jobs/plan"}


@pytest.mark.parametrize("refuses", ["plan", "start"])
def test_a_refusal_is_said(refuses: str, admin: FakeAdmin, capsys: Capture) -> None:
    admin.refuses = refuses
    assert submit(admin.proxy, "main", "reshard", {}) == 1
    assert capsys.readouterr().err == f"shardproxy: {REFUSED}\n"


def test_detached_it_is_left_alone(admin: FakeAdmin, capsys: Capture) -> None:
    assert submit(admin.proxy, "main", "reshard", {}, detach=True) == 0
    assert "reshard 7 of main goes on by itself: shardproxy jobs main shows it" in capsys.readouterr().out


def test_json_is_one_object(admin: FakeAdmin, capsys: Capture) -> None:
    admin.looks = [*RUNNING, job("done")]
    assert submit(admin.proxy, "main", "reshard", {}, output="json") == 0
    assert json.loads(capsys.readouterr().out)["job"]["state"] == "done"


def test_ctrl_c_leaves_it_alone(admin: FakeAdmin, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    admin.looks = [job("running")]

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupted)
    assert submit(admin.proxy, "main", "reshard", {}) == 130
    assert "goes on by itself" in capsys.readouterr().err
    assert [path for path, _ in admin.asked] == ["/api/jobs/plan", "/api/jobs/start"], "it is not aborted"


def test_a_proxy_that_stays_away_is_said(
    admin: FakeAdmin, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LOST", 0.01)
    admin.looks = [None]
    assert submit(admin.proxy, "main", "reshard", {}) == 1
    err = capsys.readouterr().err
    assert admin.address in err
    assert "goes on by itself" in err


def test_on_a_terminal_a_bar_shows_how_far_it_is(
    admin: FakeAdmin, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(waiting, "console", lambda: Console(file=shown, force_terminal=True, width=100))
    admin.looks = [*RUNNING, job("done", 1000, result={"text": "4 slots moved"})]
    assert submit(admin.proxy, "main", "reshard", {}) == 0
    assert "reshard 7: copying" in shown.getvalue()
    assert "4 slots moved" in capsys.readouterr().out


def run(capsys: Capture, admin: FakeAdmin, *words: str) -> tuple[int, str, str]:
    code = main((*words, "--admin", admin.address))
    out, err = capsys.readouterr()
    return code, out, err


def test_jobs_are_shown_paused_and_waited_for(admin: FakeAdmin, capsys: Capture) -> None:
    admin.looks = [job("running", 400)]
    code, out, _ = run(capsys, admin, "jobs", "main")
    assert code == 0
    assert "older" in out
    assert "copying, 40 % (400 of 1000 keys), 8 MB/s" in out
    assert run(capsys, admin, "jobs", "main", "7", "--pause")[:2] == (
        0,
        "reshard 7 of main: paused, copying, 0 % (0 of 1000 keys), 8 MB/s\n",
    )
    assert admin.asked == [("/api/jobs/pause", {"cluster": "main", "id": "7"})]
    admin.looks = [*RUNNING, job("failed", why=REFUSED)]
    code, _, err = run(capsys, admin, "jobs", "main", "--wait")
    assert (code, REFUSED in err) == (1, True)


def test_what_is_said_to_moves_of_slots_is_said_to_nothing_else(admin: FakeAdmin, capsys: Capture) -> None:
    admin.looks = [{**job("running", 400), "kind": "restore"}]
    for what in ("abort", "pause", "resume", "status"):
        code, _, err = run(capsys, admin, "reshard", "main", what)
        assert code == 1
        assert "main has no reshard: restore 7 was the last" in err
    assert admin.asked == []
    admin.looks = [job("running", 400)]
    assert run(capsys, admin, "reshard", "main", "pause")[0] == 0
    assert admin.asked == [("/api/jobs/pause", {"cluster": "main", "id": "7"})]
    admin.looks = [job("running", 400)]
    assert (
        json.loads(run(capsys, admin, "reshard", "main", "status", "--output", "json")[1])["job"]["id"] == "7"
    )


@pytest.mark.parametrize("words", [("--pause",), ("--wait",), ("main", "--pause", "--abort")])
def test_one_thing_is_asked_of_one_cluster(words: tuple[str, ...], admin: FakeAdmin, capsys: Capture) -> None:
    code, _, err = run(capsys, admin, "jobs", *words)
    assert (code, err) == (
        1,
        "shardproxy: name a cluster, and one of --wait, --pause, --resume and --abort\n",
    )
    assert not admin.asked


def test_status_says_what_is_under_way() -> None:
    cluster = {"is_paused": False, "shards": [], "job": job("paused", 400)}
    assert complaints(cluster) == ["reshard 7 of main: paused, copying, 40 % (400 of 1000 keys), 8 MB/s"]
    assert complaints({**cluster, "job": None}) == []


def test_progress_is_said_in_a_line() -> None:
    of = {"stage": "", "what": "", "done": 0, "total": 0, "text": ""}
    assert progress_text({"progress": of}) == ""
    assert (
        progress_text({"progress": {**of, "stage": "cleaning", "done": 3, "what": "slots"}})
        == "cleaning, 3 slots"
    )
