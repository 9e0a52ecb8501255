"""A verifier that is asked by HTTP: what it says counts, and when it says nothing nobody gets in."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from shardproxy.access.http import (
    FAILED,
    MAX_ANSWER,
    NOT_TEXT,
    REFUSED,
    Cache,
    HttpVerifier,
    Poster,
    VerifierError,
    answer_read,
)
from shardproxy.access.statistics import LoginStatistics
from shardproxy.access.throttle import of_failures
from shardproxy.access.turns import MAX_CALLS, MAX_CALLS_FROM, MAX_LINE
from shardproxy.access.verifiers import THROTTLED, Accepted, Login, Refused

YES = json.dumps({"allow": True}).encode()
NO = json.dumps({"allow": False}).encode()


async def office() -> str:
    return "10.0.0.1:5000"


async def home() -> str:
    return "10.0.0.2:5000"


def login(secret: bytes = b"hunter2", user: bytes = b"app", where: Any = office) -> Login:
    return Login("main", user, secret, where)


@dataclass
class Service:
    """Plays the service; `answer` is what it says, and `gate` opens before it says it."""

    answer: bytes = YES
    asked: list[dict[str, str]] = field(default_factory=list)
    gate: trio.Event | None = None
    error: VerifierError | None = None
    at_once: int = 0
    most_at_once: int = 0

    async def post(self, url: str, body: dict[str, str], timeout: float) -> bytes:
        self.asked.append(dict(body))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.at_once -= 1
        if self.error is not None:
            raise self.error
        return self.answer


def asking(service: Service, *, timeout: float = 2, keep: float = 60) -> HttpVerifier:
    return HttpVerifier("http://localhost/", timeout, keep, service.post, LoginStatistics())


async def test_it_is_told_who_wants_in(autojump_clock: trio.testing.MockClock) -> None:
    service = Service()
    verifier = asking(service)
    assert await verifier.verify(login()) == Accepted()
    assert service.asked == [
        {"cluster": "main", "user": "app", "secret": "hunter2", "address": "10.0.0.1:5000"}
    ]
    assert verifier.statistics.asked == {"main": 1}


async def test_what_was_accepted_is_kept_for_a_while(autojump_clock: trio.testing.MockClock) -> None:
    service = Service()
    verifier = asking(service, keep=60)
    for _ in range(3):
        assert await verifier.verify(login()) == Accepted()
    assert len(service.asked) == 1
    await trio.sleep(59)
    assert await verifier.verify(login()) == Accepted()
    assert len(service.asked) == 1
    await trio.sleep(2)
    service.answer = NO
    assert await verifier.verify(login()) == Refused(REFUSED)
    assert await verifier.verify(login()) == Refused(REFUSED)
    assert len(service.asked) == 3, "a refusal is not kept"


@pytest.mark.parametrize(
    ("answer", "keep", "lasts"),
    [
        (b'{"allow": true, "seconds": 5}', 60, 5),
        (b'{"allow": true, "seconds": 500}', 60, 60),
        (b'{"allow": true, "seconds": 1%s}' % (b"0" * 400), 60, 60),
        (b'{"allow": true, "seconds": 0}', 60, 0),
        (b'{"allow": true, "seconds": null}', 60, 60),
        (b'{"allow": true}', 0, 0),
    ],
)
async def test_it_says_for_how_long(
    answer: bytes, keep: float, lasts: float, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service(answer)
    verifier = asking(service, keep=keep)
    assert await verifier.verify(login()) == Accepted()
    await trio.sleep(max(0, lasts - 0.5))
    assert await verifier.verify(login()) == Accepted()
    assert len(service.asked) == (1 if lasts else 2)
    await trio.sleep(1)
    assert await verifier.verify(login()) == Accepted()
    assert len(service.asked) == (2 if lasts else 3)


@pytest.mark.parametrize(
    "other",
    [login(b"hunter3"), login(user=b"other"), login(where=home), Login("other", b"app", b"hunter2", office)],
)
async def test_what_is_kept_is_for_that_login_alone(other: Login) -> None:
    service = Service()
    verifier = asking(service)
    assert await verifier.verify(login()) == Accepted()
    service.answer = NO
    assert await verifier.verify(other) == Refused(REFUSED)
    assert await verifier.verify(login()) == Accepted()


async def test_a_login_from_another_port_is_the_same() -> None:
    async def elsewhere() -> str:
        return "10.0.0.1:5001"

    service = Service()
    verifier = asking(service)
    await verifier.verify(login())
    await verifier.verify(login(where=elsewhere))
    assert len(service.asked) == 1


def test_the_cache_is_bounded_and_holds_no_secret() -> None:
    cache = Cache(size=3)
    keys = [cache.key("main", "app", secret, "") for secret in ("hunter1", "hunter2", "hunter3", "hunter4")]
    for key in keys:
        cache.add(key, 10)
    assert [cache.has(key, 0) for key in keys] == [False, True, True, True]
    assert len(cache) == 3
    assert not cache.has(keys[1], 10)
    assert len(cache) == 2
    assert b"hunter" not in b"".join(keys)
    assert Cache().key("main", "app", "hunter1", "") != keys[0], "every process has a salt of its own"
    assert cache.key("a", "bc", "", "") != cache.key("ab", "c", "", "")


async def test_a_silent_service_refuses_in_time(autojump_clock: trio.testing.MockClock) -> None:
    service = Service(gate=trio.Event())
    verifier = asking(service, timeout=2)
    started = trio.current_time()
    assert await verifier.verify(login()) == Refused(FAILED)
    assert trio.current_time() == started + 2
    assert verifier.statistics.failed == {"main": 1}


TOO_MANY = Refused(THROTTLED, is_throttled=True)


def at(host: int) -> Any:
    async def find() -> str:
        return f"10.0.0.{host}:{5000 + host}"

    return find


async def test_so_many_are_asked_at_once_and_the_others_wait_no_longer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service = Service(gate=trio.Event())
    verifier = asking(service, timeout=2)
    verdicts = []

    async def one(number: int) -> None:
        verdicts.append(await verifier.verify(login(b"%d" % number, where=at(number))))

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(one, number)
    assert sorted(verdicts, key=str) == sorted(
        [TOO_MANY] * (100 - MAX_CALLS) + [Refused(FAILED)] * MAX_CALLS, key=str
    )
    assert trio.current_time() == started + 2
    assert service.most_at_once == len(service.asked) == MAX_CALLS
    assert verifier.statistics.failed == {"main": MAX_CALLS}, "who was not asked has not failed"
    assert len(verifier.turns) == 0


async def test_one_place_takes_no_turns_of_others(autojump_clock: trio.testing.MockClock) -> None:
    service = Service(gate=trio.Event())
    verifier = asking(service, timeout=2)
    verdicts = []

    async def one(secret: bytes, where: Any) -> None:
        verdicts.append((secret, await verifier.verify(login(secret, where=where))))

    async with trio.open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(one, b"guess%d" % number, office)
        await trio.testing.wait_all_tasks_blocked()
        assert len(service.asked) == MAX_CALLS_FROM
        assert len(verifier.turns) == 1
        nursery.start_soon(one, b"hunter2", home)
        await trio.testing.wait_all_tasks_blocked()
        assert service.asked[-1]["address"] == await home(), "asked about at once"
        assert service.gate is not None
        service.gate.set()
    assert (b"hunter2", Accepted()) in verdicts
    assert len(verifier.turns) == 0


async def test_whose_turn_has_come_has_all_the_time_for_an_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(url: str, body: dict[str, str], timeout: float) -> bytes:
        await trio.sleep(1.5)
        return YES

    verifier = HttpVerifier("http://localhost/", 2, 60, slow, LoginStatistics())
    verdicts = []

    async def one(number: int) -> None:
        verdicts.append(await verifier.verify(login(b"%d" % number)))

    async with trio.open_nursery() as nursery:
        for number in range(2 * MAX_CALLS_FROM):
            nursery.start_soon(one, number)
    assert verdicts == [Accepted()] * 2 * MAX_CALLS_FROM


async def test_whoever_guesses_is_not_asked_about_for_long(autojump_clock: trio.testing.MockClock) -> None:
    service = Service()
    verifier = asking(service)
    assert await verifier.verify(login(b"known")) == Accepted()
    service.answer = NO
    verdicts = [await verifier.verify(login(b"%d" % number)) for number in range(1000)]
    asked = len(service.asked) - 1
    assert verdicts == [Refused(REFUSED)] * asked + [TOO_MANY] * (1000 - asked)
    assert asked == of_failures().burst
    service.answer = YES
    assert await verifier.verify(login()) == TOO_MANY
    assert await verifier.verify(login(where=home)) == Accepted(), "from elsewhere"
    assert await verifier.verify(login(user=b"other")) == Accepted(), "as somebody else"
    assert await verifier.verify(login(b"known")) == Accepted(), "who was in before"
    await trio.sleep(1 / of_failures().per_second)
    assert await verifier.verify(login()) == Accepted()


async def test_many_at_once_guess_no_more(autojump_clock: trio.testing.MockClock) -> None:
    service = Service(NO, gate=trio.Event())
    verifier = asking(service)
    async with trio.open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(verifier.verify, login(b"%d" % number))
        await trio.testing.wait_all_tasks_blocked()
        assert service.gate is not None
        service.gate.set()
    assert len(service.asked) < of_failures().burst + MAX_CALLS_FROM


async def test_a_service_that_fails_is_no_guess_of_a_client() -> None:
    service = Service(error=VerifierError("connection refused"))
    verifier = asking(service)
    for number in range(100):
        assert await verifier.verify(login(b"%d" % number)) == Refused(FAILED)
    service.error = None
    assert await verifier.verify(login()) == Accepted()


async def test_many_logins_with_one_secret_are_asked_about_but_a_few_times() -> None:
    service = Service(gate=trio.Event())
    verifier = asking(service)
    verdicts = []

    async def one() -> None:
        verdicts.append(await verifier.verify(login()))

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
        assert service.gate is not None
        service.gate.set()
    assert verdicts == [Accepted()] * 200
    assert len(service.asked) == MAX_CALLS_FROM


async def test_who_leaves_takes_no_place(autojump_clock: trio.testing.MockClock) -> None:
    service = Service(gate=trio.Event())
    verifier = asking(service, timeout=10)
    for _ in range(MAX_CALLS):
        with trio.move_on_after(1):
            await verifier.verify(login())
    service.gate = None
    assert await verifier.verify(login()) == Accepted()


async def test_who_leaves_before_the_answer_has_failed(autojump_clock: trio.testing.MockClock) -> None:
    service = Service(gate=trio.Event())
    verifier = asking(service, timeout=10)
    for _ in range(100):
        with trio.move_on_after(0.01):
            await verifier.verify(login())
    assert len(service.asked) <= 21, "as who waits for the answer"


async def test_a_line_ends_somewhere(autojump_clock: trio.testing.MockClock) -> None:
    verifier = asking(Service(gate=trio.Event()), timeout=10)
    verdicts = []

    async def one() -> None:
        verdicts.append(await verifier.verify(login()))

    async with trio.open_nursery() as nursery:
        for _ in range(MAX_LINE + 10):
            nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
        assert verdicts == [Refused(THROTTLED, is_throttled=True)] * 10
        nursery.cancel_scope.cancel()


async def test_a_failure_is_logged_once_without_the_secret(log_lines: list[Any]) -> None:
    service = Service(error=VerifierError("connection refused"))
    verifier = asking(service)
    for _ in range(3):
        assert await verifier.verify(login()) == Refused(FAILED)
    service.error = None
    assert await verifier.verify(login()) == Accepted()
    assert [line["event"] for line in log_lines] == [
        "logins refused, as the verifier fails",
        "verifier answers again",
    ]
    assert "hunter2" not in str(log_lines)
    assert log_lines[0]["why"] == "connection refused"


async def test_a_service_that_fails_and_answers_in_turns_fills_no_log(
    log_lines: list[Any], autojump_clock: trio.testing.MockClock
) -> None:
    service = Service()
    verifier = asking(service, keep=0)
    for second in range(600):
        service.error = VerifierError(f"status {second}") if second % 2 else None
        await verifier.verify(login())
        await trio.sleep(1)
    events = [line["event"] for line in log_lines]
    assert events.count("logins refused, as the verifier fails") == 10
    assert events.count("verifier answers again") == 10


async def test_that_many_wait_is_said_once_a_minute(
    log_lines: list[Any], autojump_clock: trio.testing.MockClock
) -> None:
    verifier = asking(Service(gate=trio.Event()), timeout=2)
    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(verifier.verify, login(b"%d" % number))
    assert sorted(line["event"] for line in log_lines) == [
        "logins refused, as the verifier fails",
        "logins refused, as too many wait for the verifier",
    ]


@pytest.mark.parametrize("bad", [login(b"\xff"), login(user=b"\xff")])
async def test_what_is_no_text_is_refused_without_asking(bad: Login) -> None:
    service = Service()
    assert await asking(service).verify(bad) == Refused(NOT_TEXT)
    assert not service.asked


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"yes",
        b"true",
        b"[]",
        b"{}",
        b'{"allow": 1}',
        b'{"allow": "true"}',
        b'{"allow": null}',
        b'{"allow": true, "seconds": "5"}',
        b'{"allow": true, "seconds": -1}',
        b'{"allow": true, "seconds": true}',
        b'{"allow": true, "seconds": NaN}',
        b"[" * 100_000,
        b"\xff",
    ],
)
async def test_an_answer_of_another_kind_refuses(content: bytes) -> None:
    with pytest.raises(VerifierError):
        answer_read(content)
    assert await asking(Service(content)).verify(login()) == Refused(FAILED)


# --- real HTTP ---


class Handler(BaseHTTPRequestHandler):
    status = 200
    content = YES
    more: tuple[tuple[str, str], ...] = ()
    seen: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, body))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.content)))
        for name, value in self.more:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def log_lines() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


@pytest.fixture
def server() -> Iterator[tuple[str, type[Handler]]]:
    class Mine(Handler):
        pass

    Mine.seen = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Mine) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}/verify", Mine
        http.shutdown()
        thread.join()


async def test_it_is_asked_by_a_post_of_json(server: tuple[str, type[Handler]]) -> None:
    url, handler = server
    async with Poster() as one:
        verifier = HttpVerifier(url, 5, 60, one.post, LoginStatistics())
        assert await verifier.verify(login()) == Accepted()
    assert [(path, json.loads(body)) for path, body in handler.seen] == [
        ("/verify", {"cluster": "main", "user": "app", "secret": "hunter2", "address": "10.0.0.1:5000"})
    ]


@pytest.mark.parametrize(
    ("status", "content", "more", "why"),
    [
        (500, YES, (), "it answered with status 500"),
        (201, YES, (), "it answered with status 201"),
        (302, YES, (("Location", "/elsewhere"),), "it answered with status 302"),
        (200, b" " * (MAX_ANSWER + 1), (), "its answer is longer than 65536 bytes"),
    ],
)
async def test_another_answer_is_none(
    server: tuple[str, type[Handler]],
    status: int,
    content: bytes,
    more: tuple[tuple[str, str], ...],
    why: str,
) -> None:
    url, handler = server
    handler.status, handler.content, handler.more = status, content, more
    async with Poster() as one:
        with pytest.raises(VerifierError, match=why):
            await one.post(url, {}, 5)
    assert len(handler.seen) == 1


async def test_a_service_that_is_not_there_refuses(log_lines: list[Any]) -> None:
    async with Poster() as one:
        verifier = HttpVerifier("http://127.0.0.1:1/", 5, 60, one.post, LoginStatistics())
        assert await verifier.verify(login()) == Refused(FAILED)
    assert "hunter2" not in str(log_lines)
