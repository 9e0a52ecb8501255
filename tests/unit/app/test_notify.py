"""The watchdog hears nothing of a process whose worker hangs."""

from __future__ import annotations

import socket
from pathlib import Path

import trio

from shardproxy.app.notify import Notifier


async def test_no_ping_while_a_worker_hangs(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.setblocking(False)
        why: list[str] = ["worker 0 has not turned for 11 s"]
        notifier = Notifier({"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "30000"})
        heard = trio.socket.from_stdlib_socket(manager.dup())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(notifier.run, lambda: why)
            with trio.move_on_after(0.1) as silence:
                await heard.recv(100)
            assert silence.cancelled_caught
            why.clear()
            with trio.fail_after(5):
                assert await heard.recv(100) == b"WATCHDOG=1"
            nursery.cancel_scope.cancel()
        heard.close()


def test_without_a_manager_nothing_is_said() -> None:
    Notifier({}).ready("serving")
    Notifier({"NOTIFY_SOCKET": "/nowhere"}).stopping("draining")
