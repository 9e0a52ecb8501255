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
MAX_TEXT = 300  # bytes of a hint that are read

log = structlog.get_logger()


class SentinelAsker:
    """One Sentinel, and what it said last of each name."""

    def __init__(
        self,
        address: Address,
        names: Sequence[str],
        changed: Callable[[], None],
        hinted: Callable[[str], None],
        login: Credentials | None = None,
        tls: NodeTls | None = None,
    ) -> None:
        """`changed` is called when it has answered, or not; `hinted` with what it says that happens."""
        self.address = address
        self.answers: dict[str, Answer] = {}
        self.why_silent: str | None = "not asked yet"
        self._names = tuple(names)
        self._changed = changed
        self._hinted = hinted
        self._poll, self._listen = (
            NodeLink(address, credentials=lambda: login, tls=lambda: tls, timeouts=TIMEOUTS) for _ in range(2)
        )
        self._wanted = trio.Event()

    def hurry(self) -> None:
        """Ask as soon as may be."""
        self._wanted.set()

    async def run(self) -> None:
        """Ask and listen until cancelled."""
        async with self._poll, self._listen, trio.open_nursery() as nursery:
            nursery.start_soon(self._run_poll)
            nursery.start_soon(self._run_listen)

    async def request(self, *args: str, timeout: float) -> Reply:
        """Have it do something; raise NodeError, NodeUnreachable or NodeTimeout."""
        return await self._poll.request(*args, timeout=timeout)

    async def _run_poll(self) -> None:
        interval = max(INTERVAL, len(self._names) / NAMES_A_SECOND)
        while True:
            self._wanted = trio.Event()
            asked_at = trio.current_time()
            await self._ask()
            self._changed()
            with trio.move_on_at(asked_at + interval):
                await self._wanted.wait()
            await trio.sleep_until(asked_at + MIN_GAP)

    async def _ask(self) -> None:
        asked = [question for name in self._names for question in questions(name)]
        try:
            replies = await self._poll.request_many(asked)
            found = {
                name: answer
                for place, name in enumerate(self._names)
                if (answer := answer_read(replies[3 * place : 3 * place + 3])) is not None
            }
        except (NodeFailure, NodeError, AnswerError) as error:
            self._note({}, str(error))
            return
        unknown = [name for name in self._names if name not in found]
        self._note(found, f"does not know {', '.join(unknown)}" if unknown else None)

    def _note(self, answers: dict[str, Answer], why_silent: str | None) -> None:
        if why_silent != self.why_silent and (why_silent is not None or self.why_silent != "not asked yet"):
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
