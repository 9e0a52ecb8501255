"""What the log is told of connections that are refused: the first of a kind, and then one a minute.

The data plane tells of a few a second, and metrics count all.
"""

from __future__ import annotations

import structlog
import trio

from shardproxy.dataplane._native import AccessEvent

PAUSE = 60.0  # seconds until one of the same kind is told again
ADVICE = {
    "limit": "there are more clients than limits.clients",
    "security_group": "no rule of the groups in access.inbound admits its address",
    "no_balancer": "the endpoint has proxy_protocol, and its address is not in proxy_protocol.from",
}
WHAT = {
    "connection_refused": "connection refused",
    "header_refused": "connection refused",
    "handshake_failed": "TLS handshake failed",
}
MOST = 1000  # that are remembered
HEADER_ADVICE = "does the balancer send the PROXY protocol to this endpoint?"

log = structlog.get_logger()


class RefusalLog:
    """Remembers what the log knows."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str, str, str], float] = {}

    def note(self, event: AccessEvent) -> None:
        """Tell the log, if this is about a refused connection and it was not told of such a moment ago."""
        what = WHAT.get(event.kind)
        if what is None:
            return
        key, now = (event.cluster, event.endpoint, event.kind, event.why), trio.current_time()
        if now < self._told.get(key, float("-inf")) + PAUSE:
            return
        if len(self._told) >= MOST:
            self._told.clear()  # of handshakes there may be many
        self._told[key] = now
        log.warning(
            what,
            cluster=event.cluster,
            endpoint=event.endpoint,
            client=event.address,
            why=event.why,
            advice=HEADER_ADVICE if event.kind == "header_refused" else ADVICE.get(event.why),
        )
