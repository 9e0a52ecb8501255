"""Sees when a file that settings were read from has changed: certificates, passwords, lists of users.

Looks at all of them every second, through symbolic links, as Kubernetes swaps those of mounted secrets. Waits
until nobody writes any more, but not for ever: others may have changed, too. What is in the files, and what a
change means, it does not know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import trio

from shardproxy.config.files import Fingerprint, fingerprint

INTERVAL = 1.0  # seconds between looks
SETTLED = 0.1  # seconds in which a file that changed must not change again
SETTLES_WITHIN = 2.0  # seconds; one that goes on changing is read as it is

Seen = Mapping[Path, Fingerprint]


async def run_files_watch(
    seen: Callable[[], Seen], changed: Callable[[list[Path]], Awaitable[None]], interval: float = INTERVAL
) -> None:
    """Until cancelled. `seen` tells how each file was when it was read; `changed` has them read again.

    What it reads is what `seen` tells from then on, even where it was no good.
    """
    while True:
        await trio.sleep(interval)
        before = seen()
        now = await _look(before)
        if now == before:
            continue
        deadline = trio.current_time() + SETTLES_WITHIN
        while (later := await _later(before)) != now:
            now = later
            if trio.current_time() >= deadline:
                break
        if now != before:
            await changed(sorted(path for path in now if now[path] != before[path]))


async def _later(paths: Seen) -> Seen:
    await trio.sleep(SETTLED)
    return await _look(paths)


async def _look(paths: Seen) -> Seen:
    """In a thread: a file system may hang."""
    return await trio.to_thread.run_sync(lambda: {path: fingerprint(path) for path in paths})
