"""`shardproxy top`: the fleet, live."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from shardproxy.cli.ask import HERE, AskError, NoPageError, Proxy, ask, ask_text, console, fail, path_of
from shardproxy.cli.live import on_screen
from shardproxy.cli.rates import Counters, rates_of
from shardproxy.cli.top_page import View, top_page

PRINTED = 1000  # lines, where it is printed once
EVENTS = 10


def top(
    *,
    every: Annotated[float, Parameter(validator=Number(gte=0.2, lte=3600))] = 2.0,
    once: Annotated[bool, Parameter(negative="")] = False,
    proxy: Proxy = HERE,
) -> int:
    """Watch the fleet live: clusters with rates and latencies by class of command, nodes, hot keys, events.

    Rates and latencies are those that clients of this proxy had since the page before; p99: 99 of 100
    requests took no longer. Nodes that are not well come first, then those of the busiest shards. q quits.
    Where it is no terminal it is printed once. Exit code 1 when no proxy answers.

    Parameters
    ----------
    every
        Seconds from one page to the next.
    once
        Print it once, after one such time.
    """
    watcher = Watcher(proxy)
    out = console()
    try:
        watcher.look()
        if once or not out.is_terminal:
            time.sleep(min(every, 1.0))
            out.print(top_page(watcher.look(), out.width, PRINTED))
            return 0
    except AskError as error:
        return fail(error)
    with contextlib.suppress(KeyboardInterrupt), on_screen(out) as (screen, pause):
        ended = pause(min(every, 0.5))
        while not ended:
            screen.update(top_page(watcher.look_again(), out.width, out.height))
            ended = pause(every)
    return 0


class Watcher:
    """Looks at one proxy again and again, and keeps what it saw last."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._counters: Counters | None = None
        self._view: View | None = None
        self._tells_hot = True

    def look(self) -> View:
        """What is there now; raise AskError."""
        status = ask(self._proxy, "/api/status")
        try:
            counters = Counters.read(ask_text(self._proxy, "/metrics"), time.monotonic())
        except ValueError as error:
            raise AskError(f"{self._proxy.admin}: /metrics cannot be read: {error}") from error
        before, self._counters = self._counters or counters, counters
        self._view = View(
            self._proxy.admin,
            f"{datetime.now(UTC):%H:%M:%S}",
            status,
            {name: rates_of(name, before, counters) for name in status["clusters"]},
            self._hot(),
            ask(self._proxy, path_of("/api/events", count=EVENTS))["events"],
        )
        return self._view

    def look_again(self) -> View:
        """The same; while nobody answers what there was last, and why."""
        try:
            return self.look()
        except AskError as error:
            if self._view is None:
                raise
            return replace(self._view, now=f"{datetime.now(UTC):%H:%M:%S}", trouble=str(error))

    def _hot(self) -> dict[str, object] | None:
        """None of a proxy that does not tell: it is not asked again."""
        if not self._tells_hot:
            return None
        try:
            return ask(self._proxy, path_of("/api/hotkeys", limit=EVENTS))
        except NoPageError:
            self._tells_hot = False
            return None
        except AskError:
            return None
