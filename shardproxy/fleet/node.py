"""One engine process: started, ready, frozen or dead. Knows no engine's protocol."""

from __future__ import annotations

import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from shardproxy.fleet.errors import EngineError, EngineMissingError
from shardproxy.fleet.ports import free_port
from shardproxy.fleet.process import LOG, Launch, LocalProcess, Process
from shardproxy.model import Address

PORT_TRIES = 10
POLL_INTERVAL = 0.005  # seconds; an engine is up some 10 ms after exec
START_TIMEOUT = 15.0  # seconds
STOP_GRACE = 3.0  # seconds between SIGTERM and SIGKILL
LOG_TAIL = 2000  # bytes of log shown in an error


class EngineNode(ABC):
    """An engine on a free port of loopback, in a directory of its own that its fleet removes."""

    programs: tuple[str, ...]
    package: str

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "node",
        host: str = "127.0.0.1",
        unix: bool = False,
        args: Sequence[str] = (),
        program: str | None = None,
        launch: Launch = LocalProcess,
    ) -> None:
        self.directory = directory
        self.name = name
        self.args = tuple(args)
        self.is_frozen = False
        self._program = program
        self._launch = launch
        self._process: Process | None = None
        self._log_start = 0
        self._tries = 0
        self._is_fixed = unix  # once an address has answered, restarts keep it
        self._address = Address(path=str(directory / "s")) if unix else Address(host=host)

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The arguments that make the program listen on `address`."""

    @abstractmethod
    def why_not_ready(self) -> str | None:
        """Ask who listens on `address`, without waiting long; None when it is our process and serves."""

    @property
    def address(self) -> Address:
        """Where it listens: known once it is ready, and the same after a restart."""
        return self._address

    @property
    def port(self) -> int:
        return self._address.port

    @property
    def pid(self) -> int:
        """Its process id; of the last process when it has ended."""
        if self._process is None:
            raise EngineError(f"{self.name} was never started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def begin(self) -> None:
        """Launch the process and return at once; `is_ready` tells when it serves."""
        if self.is_running:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self._is_fixed:
            self._address = Address(host=self._address.host, port=free_port(self._address.host))
        log = self.directory / LOG
        self._log_start = log.stat().st_size if log.exists() else 0
        self._process = self._launch((self._find_program(), *self.command(), *self.args), self.directory)
        self._tries += 1
        self.is_frozen = False

    def is_ready(self) -> bool:
        """Whether it serves now; raise EngineError when it has ended. A lost race for a port is run again."""
        if self.is_running:
            if self.why_not_ready() is not None:
                return False
            self._is_fixed = True
            self._tries = 0
            return True
        if self._tries < PORT_TRIES and "Address already in use" in self.log():
            self.begin()
            return False
        raise EngineError(f"{self.name} ({self._address}) ended while starting:\n{self.log()}")

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Launch it and wait until it serves."""
        self.begin()
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise self.too_slow(timeout)
            time.sleep(POLL_INTERVAL)

    def too_slow(self, timeout: float) -> EngineError:
        why = self.why_not_ready()
        return EngineError(f"{self.name} ({self._address}) not ready after {timeout} s: {why}\n{self.log()}")

    def stop(self, grace: float = STOP_GRACE) -> None:
        """End it by SIGTERM, and by SIGKILL when the grace is over. Idempotent."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self.thaw()  # a frozen process does not hear SIGTERM
            if self._process.wait(grace) is None:
                self.kill()

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would, and wait until it is gone. Idempotent."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            if self._process.wait(STOP_GRACE) is None:
                raise EngineError(f"{self.name}: process {self.pid} survives SIGKILL")
        self.is_frozen = False

    def restart(self, timeout: float = START_TIMEOUT) -> None:
        """Start it again on the same address, stopping it first when it runs."""
        self.stop()
        self.start(timeout)

    def freeze(self) -> None:
        """Stop its execution (SIGSTOP): its connections stay open and nothing answers."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGSTOP)
            self.is_frozen = True

    def thaw(self) -> None:
        if self._process is not None and self.is_frozen:
            self._process.send_signal(signal.SIGCONT)
        self.is_frozen = False

    def log(self) -> str:
        """The end of what the last process printed."""
        try:
            with (self.directory / LOG).open("rb") as log:
                log.seek(self._log_start)
                return log.read()[-LOG_TAIL:].decode(errors="replace").strip()
        except FileNotFoundError:
            return ""

    def __repr__(self) -> str:
        state = "frozen" if self.is_frozen else "running" if self.is_running else "down"
        return f"<{type(self).__name__} {self.name} {self._address} {state}>"

    def _find_program(self) -> str:
        for program in (self._program,) if self._program else self.programs:
            if found := shutil.which(program):
                return found
        raise EngineMissingError((self._program,) if self._program else self.programs, self.package)
