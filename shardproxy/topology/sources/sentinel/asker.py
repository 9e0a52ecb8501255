"""Asks one Sentinel, over and over, and hears when it says that something happens.

poll    about once a second, and at once when asked to ─> answers
listen  PSUBSCRIBE * ─> a hint, which says that it is worth asking, and no more
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
import trio

from shardproxy.model import Address
from shardproxy.nodes import Credentials, LinkTimeouts, NodeError, NodeFailure, NodeLink, NodeTls
from shardproxy.topology.sources.sentinel.answers import Answer, AnswerError, answer_read, questions
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import ProtocolError

INTERVAL = 1.0  # seconds from one question to the next, with few names
NAMES_A_SECOND = 50  # asked for, of one Sentinel
MIN_GAP = 0.05  # seconds, however many hints there are
TIMEOUTS = LinkTimeouts(connect=0.5, reply=1.0)
RETRY = 1.0  # seconds until a subscription that ended is tried again
NOT_ASKED = "not asked yet"
MAX_TEXT = 300  # bytes of a hint that are read

log = structlog.get_logger()


def _nobody_waits() -> None:
    """It is asked once."""


def _nobody_hears(text: str) -> None:
    """It is not listened to."""


class SentinelAsker:
    """One Sentinel, and what it said last of each name."""

    def __init__(
        self,
        address: Address,
        names: Sequence[str],
        changed: Callable[[], None] = _nobody_waits,
        hinted: Callable[[str], None] = _nobody_hears,
        login: Credentials | None = None,
        tls: NodeTls | None = None,
    ) -> None:
        """`changed` is called when it has answered, or not; `hinted` with what it says that happens."""
        self.address = address
        self.answers: dict[str, Answer] = {}
        self.why_silent: str | None = NOT_ASKED
        self._names = tuple(names)
        self._changed = changed
        self._hinted = hinted
        self._poll, self._listen = (
            NodeLink(address, credentials=lambda: login, tls=lambda: tls, timeouts=TIMEOUTS) for _ in range(2)
        )
        self._wanted = trio.Event()
        self._hurried: dict[str, None] = {}
        self._said: dict[str, Answer | None] = {}  # since it answers; None = it does not know the name

    def hurry(self, name: str) -> None:
        """Ask about that name as soon as may be."""
        self._hurried[name] = None
        self._wanted.set()

    async def run(self) -> None:
        """Ask and listen until cancelled."""
        async with self._poll, self._listen, trio.open_nursery() as nursery:
            nursery.start_soon(self._run_poll)
            nursery.start_soon(self._run_listen)

    async def ask_once(self) -> str | None:
        """Why it is of no use, where it can be reached: it refuses us, or does not know a name."""
        async with self._poll:
            try:
                await self._poll.request("PING")
            except NodeError as error:
                return f"refuses: {error.failure.text}"
            except NodeFailure:
                return None
            await self._ask(self._names)
        return self.why_silent

    async def request(self, *args: str, timeout: float) -> Reply:
        """Have it do something; raise NodeError, NodeUnreachable or NodeTimeout."""
        return await self._poll.request(*args, timeout=timeout)

    async def _run_poll(self) -> None:
        interval = max(INTERVAL, len(self._names) / NAMES_A_SECOND)
        due = trio.current_time()
        while True:
            asked_at = trio.current_time()
            names = self._names if asked_at >= due else tuple(self._hurried)
            due = asked_at + interval if asked_at >= due else due
            self._wanted, self._hurried = trio.Event(), {}
            await self._ask(names)
            self._changed()
            with trio.move_on_at(due):
                await self._wanted.wait()
            await trio.sleep_until(asked_at + MIN_GAP)

    async def _ask(self, names: Sequence[str]) -> None:
        asked = [question for name in names for question in questions(name)]
        try:
            replies = await self._poll.request_many(asked)
            found = {
                name: answer_read(replies[3 * place : 3 * place + 3]) for place, name in enumerate(names)
            }
        except (NodeFailure, NodeError, AnswerError) as error:
            self._said = {}
            self._note({}, str(error))
            return
        self._said |= found
        unknown = [name for name, answer in self._said.items() if answer is None]
        known = {name: answer for name, answer in self._said.items() if answer is not None}
        self._note(known, f"does not know {', '.join(unknown)}" if unknown else None)

    def _note(self, answers: dict[str, Answer], why_silent: str | None) -> None:
        if why_silent != self.why_silent and (why_silent is not None or self.why_silent != NOT_ASKED):
            say = log.info if why_silent is None else log.warning
            say("sentinel", address=str(self.address), why=why_silent or "answers again")
        self.answers, self.why_silent = answers, why_silent

    async def _run_listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (NodeFailure, NodeError, OSError, EOFError, ProtocolError):
                self._listen.drop()  # what ails it shows when it is asked
            await trio.sleep(RETRY)

    async def _hear(self) -> None:
        await self._listen.request("PSUBSCRIBE", "*")
        connection = self._listen.connection
        while connection is not None:
            replies: list[Reply] = []
            await connection.wait_readable()
            connection.receive_nowait(replies)
            for reply in replies:
                match reply:
                    case [b"pmessage", bytes(), bytes() as channel, bytes() as text]:
                        self._hinted(f"{channel.decode()} {text[:MAX_TEXT].decode(errors='replace')}")
