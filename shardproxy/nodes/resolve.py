"""Names to IP addresses, for connections of the control plane. Knows nothing of nodes and ports.

A name server that is slow or away must not keep us from a node whose address we know: one lookup per name at
a time, on threads that nobody else waits for; the last good answer stays in use until there is a better one.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

LOOKUPS = 8  # at once; a thread that waits for a name server cannot be ended
FRESH = 1.0  # seconds an answer, or that there is none, is used without asking again
HEAD_START = 0.03  # seconds a lookup may take before the last good answer is used instead

Addresses = tuple[str, ...]
Lookup = Callable[[str], Awaitable[Addresses]]


@dataclass(slots=True)
class _Name:
    """What is known of a name."""

    addresses: Addresses = ()  # of the last lookup that found some
    error: OSError | None = None  # of the last lookup
    looked_at: float = float("-inf")  # when that ended (trio time)
    pending: trio.Event | None = None  # set when the one under way ends


class Resolver:
    """Looks names up and remembers the answers."""

    def __init__(self, lookup: Lookup | None = None, *, lookups: int = LOOKUPS) -> None:
        self._limiter = trio.CapacityLimiter(lookups)
        self._lookup = lookup or self._look_up_in_thread
        self._names: dict[str, _Name] = {}

    async def resolve(self, host: str) -> Addresses:
        """Give the IP addresses of a host, the preferred first; raise OSError when none was ever found.

        A literal address is its own. The caller sets the deadline: a name that never resolved is waited for.
        """
        if is_literal(host):
            return (host,)
        name = self._names.setdefault(host, _Name())
        if trio.current_time() - name.looked_at >= FRESH:
            if name.pending is None:
                name.pending = trio.Event()
                trio.lowlevel.spawn_system_task(self._look_up, host, name, name.pending)
            with trio.move_on_after(HEAD_START) if name.addresses else trio.CancelScope():
                await name.pending.wait()
        if not name.addresses:
            raise name.error or OSError(f"{host} has no address")
        return name.addresses

    @property
    def threads_in_use(self) -> int:
        """How many lookups wait for the system's resolver."""
        return self._limiter.borrowed_tokens

    async def _look_up(self, host: str, name: _Name, done: trio.Event) -> None:
        """Outlives who asked first: others may wait for it, and its answer is kept."""
        try:
            found = await self._lookup(host)
        except OSError as error:
            name.error = error
        except UnicodeError as error:  # no host name
            name.error = OSError(str(error))
        else:
            name.addresses, name.error = found or name.addresses, None
        finally:
            name.looked_at, name.pending = trio.current_time(), None
            done.set()

    async def _look_up_in_thread(self, host: str) -> Addresses:
        return await trio.to_thread.run_sync(_ask_system, host, limiter=self._limiter, abandon_on_cancel=True)


_RESOLVER: trio.lowlevel.RunVar[Resolver] = trio.lowlevel.RunVar("shardproxy resolver")


def own_resolver() -> Resolver:
    """The resolver of this trio run, as there is one default limiter of threads."""
    try:
        return _RESOLVER.get()
    except LookupError:
        resolver = Resolver()
        _RESOLVER.set(resolver)
        return resolver


async def resolve(host: str) -> Addresses:
    """Give the IP addresses of a host by this run's resolver; see `Resolver.resolve`."""
    return await own_resolver().resolve(host)


def is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _ask_system(host: str) -> Addresses:
    """Blocks."""
    entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(where[0]) for *_, where in entries))
