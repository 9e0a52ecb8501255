"""A memcached of our own: how it is started, and how it is asked who it is."""

from __future__ import annotations

import os
from collections.abc import Sequence

from shardproxy.fleet.node import EngineNode
from shardproxy.fleet.redis import ASK_TIMEOUT, connect


class MemcachedNode(EngineNode):
    """One member of a memcached pool."""

    programs = ("memcached",)
    package = "memcached"

    def command(self) -> Sequence[str]:
        listen = (
            ("-s", self.address.path)
            if self.address.is_unix
            else ("-l", self.address.host, "-p", str(self.port), "-U", "0")
        )
        user = ("-u", "root") if os.geteuid() == 0 else ()  # it refuses to run as root unasked
        return (*listen, *user, "-m", "64", "-t", "1")

    def statistics(self) -> dict[str, str]:
        """The answer to `stats`."""
        with connect(self.address, ASK_TIMEOUT) as sock:
            sock.sendall(b"stats\r\n")
            answer = b""
            while not answer.endswith(b"END\r\n"):
                data = sock.recv(65536)
                if not data:
                    raise EOFError("the connection was closed")
                answer += data
        lines = (line.split(" ", 2) for line in answer.decode().splitlines() if line.startswith("STAT "))
        return {name: value for _, name, value in lines}

    def why_not_ready(self) -> str | None:
        try:
            pid = self.statistics().get("pid")
        except (OSError, EOFError) as e:
            return f"it does not answer: {e}"
        return None if pid == str(self.pid) else f"process {pid} answers there, not {self.pid}"
