"""Chunks that another thread makes: who reads them may be inside a call that must not be entered twice."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

AHEAD = 4  # chunks that wait to be read
LOOK_EVERY = 0.1  # seconds between looks whether anybody still reads


class Pump:
    """An iterator over chunks; a context manager whose thread has ended when it is left.

    An error of the chunks is raised where they are read, and kept in `error`.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.error: BaseException | None = None
        self._chunks = chunks
        self._queue: queue.Queue[bytes | None] = queue.Queue(AHEAD)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backup chunks", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        chunk = self._queue.get()
        if chunk is not None:
            return chunk
        self._queue.put_nowait(None)  # whoever asks again is told the same
        if self.error is not None:
            raise self.error
        raise StopIteration

    def _run(self) -> None:
        try:
            for chunk in self._chunks:
                if not self._put(chunk):
                    return
        except BaseException as e:  # noqa: BLE001  # raised where they are read
            self.error = e
        self._put(None)

    def _put(self, chunk: bytes | None) -> bool:
        while not self._is_over.is_set():
            try:
                self._queue.put(chunk, timeout=LOOK_EVERY)
            except queue.Full:
                continue
            return True
        return False
