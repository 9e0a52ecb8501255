"""What is shown again and again: on a terminal in its place until q or Ctrl-C, else one below the other."""

from __future__ import annotations

import contextlib
import io
import json
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from rich.console import Console, Group, ScreenContext
from rich.text import Text

from shardproxy.cli.ask import AskError, console, fail

QUIT = frozenset("qQ\x03\x1b")
Pause = Callable[[float], bool]  # wait for so many seconds; whether it is to end


def watch_page(
    look: Callable[[], dict[str, Any]],
    output: str,
    table: Callable[[dict[str, Any], Console], None],
    every: float,
) -> int:
    """Show what `look` finds, every so many seconds; return the exit code. JSON is one object a line."""
    out = console()
    try:
        answer = look()
    except AskError as error:
        return fail(error)
    with contextlib.suppress(KeyboardInterrupt):
        if output == "json" or not out.is_terminal:
            _print_always(look, answer, out, table if output != "json" else _print_line, every)
        else:
            _redraw_always(look, answer, out, table, every)
    return 0


def _redraw_always(
    look: Callable[[], dict[str, Any]],
    answer: dict[str, Any],
    out: Console,
    table: Callable[[dict[str, Any], Console], None],
    every: float,
) -> None:
    """Until a key ends it. While nobody answers what was there last stays, and why stands above it."""
    why = ""
    with on_screen(out) as (screen, pause):
        while True:
            said = f"{datetime.now(UTC):%H:%M:%S} UTC, every {every:g} s, q ends{why and f': {why}'}"
            head = Text(said, style="red" if why else "dim")
            screen.update(page(head, drawn(partial(table, answer), out), out.height))
            if pause(every):
                return
            try:
                answer, why = look(), ""
            except AskError as error:
                why = str(error)


def _print_always(
    look: Callable[[], dict[str, Any]],
    answer: dict[str, Any],
    out: Console,
    table: Callable[[dict[str, Any], Console], None],
    every: float,
) -> None:
    while True:
        if table is not _print_line:
            print(f"--- {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        table(answer, out)
        sys.stdout.flush()
        while True:
            time.sleep(every)
            try:
                answer = look()
                break
            except AskError as error:
                fail(error)


def _print_line(answer: dict[str, Any], out: Console) -> None:
    print(json.dumps(answer))


# --- a terminal's screen ---


@contextlib.contextmanager
def on_screen(out: Console) -> Iterator[tuple[ScreenContext, Pause]]:
    """Have the screen to oneself, and keys as they are pressed."""
    with out.screen(hide_cursor=True) as screen, _keys() as pause:
        yield screen, pause


@contextlib.contextmanager
def _keys() -> Iterator[Pause]:
    if not sys.stdin.isatty():
        yield _sleep
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield _wait_for_key
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _wait_for_key(seconds: float) -> bool:
    """Whether a key that ends it was pressed before that; any other one ends the wait only."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    if not ready:
        return False
    key = sys.stdin.read(1)
    return not key or key in QUIT


def drawn(draw: Callable[[Console], None], like: Console) -> str:
    """What is printed to a console, as text for a terminal of the same width."""
    page = Console(
        file=io.StringIO(),
        width=like.width,
        force_terminal=True,
        color_system=like.color_system,  # type: ignore[arg-type]
        legacy_windows=False,
    )
    draw(page)
    assert isinstance(page.file, io.StringIO)
    return page.file.getvalue()


def page(head: Text, body: str, height: int) -> Group:
    """A line, and as much of what is below it as has room."""
    lines = body.rstrip("\n").splitlines()
    room = max(1, height - 1)
    if len(lines) > room:
        lines = [*lines[: room - 1], f"... {len(lines) - room + 1} lines more"]
    text = Text.from_ansi("\n".join(lines))
    for one in (head, text):
        one.no_wrap, one.overflow = True, "crop"
    return Group(head, text)
