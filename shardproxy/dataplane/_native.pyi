"""The data plane as Python sees it: plain values both ways. A worker thread never takes the GIL."""

from typing import Any, Final, Self, final

__all__ = ["VERSION", "DataPlane", "glob_filter"]

VERSION: Final[str]

def glob_filter(pattern: bytes, words: list[bytes], ignores_case: bool) -> list[bytes]:
    """The words a glob pattern matches. Releases the GIL.

    Raise OverflowError when it would take too long.
    """

@final
class DataPlane:
    """Worker threads that serve every ordinary request."""

    def __new__(cls, workers: int, table: bytes, buffers: int) -> Self:
        """Start `workers` threads with a command table (JSON) and a cap on all buffers (bytes, 0 = none)."""

    def apply(self, cluster: bytes) -> list[tuple[str, str]]:
        """Make one cluster be as its JSON says; return (configured, bound) address of every endpoint.

        Raise ValueError when the JSON does not describe a cluster, or its epoch is older than the one that is
        served; OSError when an endpoint cannot listen. Then nothing has changed. When it returns every worker
        serves the new topology: a primary it no longer names is fenced. Raise TimeoutError when a worker has
        not taken it within 1 s; it will.
        """

    def remove(self, cluster: str) -> None:
        """Stop serving a cluster; its clients are closed."""

    def learn(self, table: bytes) -> None:
        """Replace the command table."""

    def slot(self, cluster: str, key: bytes) -> int:
        """The slot of a key, by the cluster's key families; raise KeyError when it is not served."""

    def fileno(self) -> int:
        """An eventfd that is readable while `take` has something."""

    def take(self) -> list[tuple[int, str, str, int, int, int, str, bool, list[bytes]]]:
        """Offloaded commands.

        Each is (token, cluster, endpoint kind, client id, RESP version, db, local address, known, args).
        `known` is False for a command that is not in the table. No args: the client of that token has gone.
        """

    def answer(self, token: int, reply: bytes) -> None:
        """Reply to an offloaded command. Unknown or stale tokens are ignored."""

    def retry(self, token: int) -> None:
        """Route an offloaded command again, by the present table; it is not offloaded as unknown again."""

    def statistics(self) -> dict[str, Any]:
        """Counters of all workers, as nested plain values."""

    def clients(self, client_id: int | None = None) -> list[dict[str, Any]]:
        """Every connected client, or that one, as CLIENT LIST needs it. Waits up to 1 s; releases the GIL."""

    def kill(self, client_ids: list[int]) -> int:
        """Close these clients; return how many there were."""

    def topics(self, cluster: str, kind: str, pattern: bytes | None = None) -> bytes:
        """What the cluster's clients are subscribed to and the pattern matches, as an encoded array of names.

        The kind is `channel`, `pattern` or `shard`. Releases the GIL. Raise OverflowError when matching
        would take too long.
        """

    def subscribers(self, cluster: str, kind: str, names: list[bytes]) -> list[int]:
        """How many clients of the cluster are subscribed to each of these. Releases the GIL."""

    def hints(self) -> list[tuple[str, str, str, str]]:
        """What workers found of nodes since the last call.

        Each is (cluster, address, kind, why); `fileno` is readable while there are some. The kind is `lost`,
        also when it could not be reached, or `stranger`: not the primary that the topology names.
        """

    def down(self) -> list[tuple[str, str, str]] | None:
        """memcached nodes that are down; None when that is as it was at the last call.

        Each is (cluster, address, why); `fileno` is readable when there is news.
        """

    def pause(self, cluster: str, seconds: float, only_writes: bool) -> None:
        """Hold requests of the cluster's clients, or only writes, for so long; 0 ends it."""

    def unblock(self, client_id: int, with_error: bool) -> bool:
        """End a client's wait for a blocking command; return whether it was waiting. Waits up to 1 s."""

    def limit_clients(self, most: int) -> None:
        """Refuse clients beyond so many of all clusters together; 0 = no limit."""

    def drain(self) -> None:
        """Stop listening; close each client once its replies are out."""

    def stop(self) -> None:
        """Close everything and end the threads. Idempotent."""
