"""A relay that stops what passes at a chosen request, or at its answer, until a test has looked around."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass

CHUNK = 1 << 16
WITHIN = 30.0  # seconds


@dataclass(eq=False)
class _Held:
    """What is waited for; then, what is held back."""

    asked: bytes
    is_answer: bool
    reached: threading.Event
    decided: threading.Event
    is_dropped: bool = False


class Gate:
    """Passes on what comes to `port`, on loopback, to another one."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._held: _Held | None = None
        self._is_armed = False
        self._is_cut = False
        self._open: list[socket.socket] = []
        self._turn = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def hold(self, asked: bytes, *, is_answer: bool = False) -> None:
        """Stop at the next request that has these bytes in it, or at its answer."""
        if self._held is not None and not self._held.decided.is_set():
            self.drop()  # a test that failed has left it
        self._held = _Held(asked, is_answer, threading.Event(), threading.Event())
        self._is_armed = True

    def wait_reached(self) -> None:
        assert self._held is not None
        assert self._held.reached.wait(WITHIN), f"nobody asks for {self._held.asked!r}"

    def release(self) -> None:
        """Let it pass, though it is late."""
        assert self._held is not None
        self._held.decided.set()

    def drop(self) -> None:
        """Lose it, and its connection."""
        assert self._held is not None
        self._held.is_dropped = True
        self._held.decided.set()

    def cut(self) -> None:
        """End what is open, and refuse what comes."""
        with self._turn:
            self._is_cut = True
            for one in self._open:
                _end(one)

    def heal(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        if self._held is not None:
            self.drop()
        _end(self._listener)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                with self._turn:
                    self._open += (client, server)
                    if self._is_cut:
                        _end(client)
                thread = threading.Thread(target=_Line(self, client, server).run)
                self._threads.append(thread)
                thread.start()

    def take(self, data: bytes) -> _Held | None:
        """What stops this, if it is what is waited for."""
        with self._turn:
            held = self._held
            if not self._is_armed or held is None or held.asked not in data:
                return None
            self._is_armed = False
            return held

    def closed(self, *ends: socket.socket) -> None:
        with self._turn:
            for end in ends:
                self._open.remove(end)
                end.close()


class _Line:
    """One connection through a gate."""

    def __init__(self, gate: Gate, client: socket.socket, server: socket.socket) -> None:
        self._gate, self._client, self._server = gate, client, server
        self._answer: _Held | None = None

    def run(self) -> None:
        answers = threading.Thread(target=self._answers)
        answers.start()
        self._requests()
        answers.join()
        self._gate.closed(self._client, self._server)

    def _requests(self) -> None:
        with suppress(OSError):
            while data := self._client.recv(CHUNK):
                if (held := self._gate.take(data)) is not None:
                    if held.is_answer:
                        self._answer = held
                    elif not _passes(held):
                        break
                self._server.sendall(data)
        self._end()

    def _answers(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(CHUNK):
                held, self._answer = self._answer, None
                if held is not None and not _passes(held):
                    break
                self._client.sendall(data)
        self._end()

    def _end(self) -> None:
        for end in (self._client, self._server):
            _end(end)


def _passes(held: _Held) -> bool:
    held.reached.set()
    held.decided.wait()
    return not held.is_dropped


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
