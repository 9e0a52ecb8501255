"""The data plane as Python sees it: plain values in, typed events and plain values out.

A worker thread never takes the GIL.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self, final

__all__ = [
    "VERSION",
    "Abandoned",
    "AccessEvent",
    "Acl",
    "CacheAged",
    "ClientDid",
    "Copier",
    "DataPlane",
    "Loader",
    "NodeDown",
    "NodeLost",
    "Offloaded",
    "OutOfFiles",
    "Placer",
    "RdbReading",
    "Snapshot",
    "Tracing",
    "certificate_check",
    "certificates_read",
    "glob_filter",
]

VERSION: Final[str]

def glob_filter(pattern: bytes, words: list[bytes], ignores_case: bool) -> list[bytes]:
    """The words a glob pattern matches. Releases the GIL.

    Raise OverflowError when it would take too long.
    """

def certificates_read(pem: str) -> list[tuple[str | None, list[str], int, int]]:
    """The certificates of a PEM: common name, alternative names, valid from and until (seconds since 1970).

    Raise ValueError when there is none, or one cannot be read.
    """

def certificate_check(certificate: str, key: str) -> None:
    """Raise ValueError, which says why, unless both are PEM and the key is the certificate's."""

@final
class Offloaded:
    """A command that Python answers; `DataPlane.answer` or `retry` must follow with its token."""

    def __new__(
        cls,
        token: int,
        cluster: str,
        endpoint: str,
        client_id: int,
        user: str,
        resp: int,
        db: int,
        local_address: str,
        known: bool,
        args: tuple[bytes, ...],
        rule: int | None = None,
        looks: int = 0,
    ) -> Self: ...
    @property
    def token(self) -> int: ...
    @property
    def cluster(self) -> str: ...
    @property
    def endpoint(self) -> str:
        """Its kind: configuration, primary or reader."""

    @property
    def client_id(self) -> int: ...
    @property
    def user(self) -> str:
        """Who its client is; default where it has not said so."""

    @property
    def resp(self) -> int:
        """The version of RESP its client speaks: 2 or 3."""

    @property
    def db(self) -> int: ...
    @property
    def local_address(self) -> str: ...
    @property
    def known(self) -> bool:
        """False for a command that is not in the table."""

    @property
    def args(self) -> tuple[bytes, ...]: ...
    @property
    def rule(self) -> int | None:
        """The caching rule that makes it Python's, by its place in the spec; None for all other commands.

        Of a read with a rule the engine has nothing: a key that is asked for is missing, or what was asked
        of it is. Of MGET over several shards `args` are one part's, `MGET k3 k7`, and so is the answer. A
        write with a rule was not sent. `pass_on` may follow in place of `answer`.
        """

    @property
    def looks(self) -> int:
        """How often this read has been passed on before, and found something missing again."""

@final
class Abandoned:
    """The client of an offloaded command has gone; nobody waits for the answer to that token."""

    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __new__(cls, token: int) -> Self: ...
    @property
    def token(self) -> int: ...

@final
class NodeLost:
    """What a worker found of a node: it says where to look, not what to think."""

    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __new__(cls, cluster: str, address: str, kind: str, why: str) -> Self: ...
    @property
    def cluster(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def kind(self) -> str:
        """`lost`, or not reached; `stranger`: not the primary that the topology names; `moved`: it serves a
        slot that is another's in the topology, as an engine in cluster mode says."""

    @property
    def why(self) -> str: ...

@final
class NodeDown:
    """A memcached node counts as down for some worker, or for none any more."""

    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __new__(cls, cluster: str, address: str, why: str | None) -> Self: ...
    @property
    def cluster(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def why(self) -> str | None:
        """None: it is up again."""

@final
class ClientDid:
    """What a client did that nobody waits to hear about."""

    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __new__(cls, cluster: str, address: str, what: str) -> Self: ...
    @property
    def cluster(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def what(self) -> str: ...

@final
class CacheAged:
    """A key of a rule with `checks` was read whose age no worker knows, or whose time has come."""

    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __new__(cls, cluster: str, rule: int, key: bytes) -> Self: ...
    @property
    def cluster(self) -> str: ...
    @property
    def rule(self) -> int:
        """Its place in the spec."""

    @property
    def key(self) -> bytes: ...

@final
class AccessEvent:
    """Who came in or was kept out, and why. Holds no secret."""

    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __new__(
        cls,
        cluster: str,
        endpoint: str,
        kind: str,
        client_id: int,
        address: str,
        user: str,
        why: str,
        object: bytes,
        context: str,
    ) -> Self: ...
    @property
    def cluster(self) -> str: ...
    @property
    def endpoint(self) -> str:
        """Its kind: configuration, primary or reader."""

    @property
    def kind(self) -> str:
        """What happened, in one word: login, login_refused, denied, session_ended, connection_refused,
        handshake_failed, header_refused or rules_changed.
        """

    @property
    def client_id(self) -> int:
        """0 where it was no client yet."""

    @property
    def address(self) -> str: ...
    @property
    def user(self) -> str:
        """As whom, or as whom it wanted to; empty where nobody has said."""

    @property
    def why(self) -> str: ...
    @property
    def object(self) -> bytes:
        """The command, key or channel, cut to 256 bytes."""

    @property
    def context(self) -> str:
        """`toplevel` or `multi`."""

@final
class OutOfFiles:
    """Something could not be opened for want of a file descriptor; no node is to blame."""

    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __new__(cls, what: str) -> Self: ...
    @property
    def what(self) -> str: ...

@final
class Placer:
    """Where requests would go, without a cluster: by a worker's table, search for keys and families."""

    def __new__(cls, table: bytes, families: list[tuple[str, str]]) -> Self:
        """Take a command table (JSON) and the families' (match, hash); raise ValueError for what is none."""

    def keys(self, args: list[bytes]) -> list[int]:
        """The places of a request's keys among its arguments.

        Raise ValueError with the error a client is told, where they may be on any shard.
        """

    def slot(self, key: bytes) -> int: ...

@final
class Acl:
    """Redis' access rules over one command table.

    Rules are one line as in an ACL file (`on ~app:* +@read (~tmp:* +@all)`), for a user that is new:
    disabled, and allowed nothing. Commands count under their real names, whatever a config calls them.
    """

    def __new__(cls, table: bytes) -> Self:
        """`table` is the command table's JSON. Raise ValueError where it is none."""

    def check(self, rules: str, keep_unknown: bool = False) -> str | None:
        """What is wrong with the rules, in the words of ACL SETUSER but without passwords.

        With `keep_unknown`, names of commands and categories that the table lacks are no fault: the workers
        take such rules too, and they mean something once the commands are learned.
        """

    def unknown(self, rules: str) -> list[str]:
        """Names of commands (`json.get`) and categories (`@json`) that the table lacks.

        Raise ValueError as `check` with `keep_unknown`.
        """

    def apply(self, rules: str, modifiers: list[bytes], keep_unknown: bool = False) -> str:
        """What ACL SETUSER with these arguments makes of a user: all its rules, with flags and `#` hashes.

        Raise ValueError with the text of Redis' error, without its code; it may quote a password.
        """

    def describe(self, rules: str, ordered: bool = True) -> dict[str, Any]:
        """A user's parts, as ACL GETUSER and ACL LIST show them.

        `flags` and `passwords` (hashes) are lists of str; `commands`, `keys` and `channels` are str;
        `selectors` is a list of dicts of those three; `enabled` and `nopass` are bool. `line` is what ACL
        LIST shows behind the name, `rules` what of it is not about logging in. Rules about commands are in
        the order they were given, as since Redis 7.2, or else the fewest that mean the same now, as in 7.0:
        only the former stay true when commands are learned, and are to be stored. Raise ValueError as
        `check` with `keep_unknown`.
        """

    def dryrun(self, rules: str, args: list[bytes]) -> tuple[str, bytes] | None:
        """What such a user is denied of a request: `command`, `key` or `channel`, and its name.

        Raise ValueError with the text of ACL DRYRUN's error for an unknown command, or a wrong number of
        arguments.
        """

    def categories(self) -> list[str]:
        """As ACL CAT tells them, without `@`; those of learned commands behind Redis' own."""

    def commands(self, category: str) -> list[str] | None:
        """The full names of a category's commands and subcommands; None if there is no such category."""

@final
class Copier:
    """A thread that copies one engine's keys to others and keeps the copies fresh."""

    def __new__(cls, plan: bytes, table: bytes | None = None, until: float | None = None) -> Self:
        """Begin with a plan and a command table (JSON), and a lease; raise ValueError for what is none."""

    def status(self) -> dict[str, Any]:
        """How far it is, as the fields of CopyStatus; `source` is a str, `fault` is `kind`."""

    def reach(self, offset: int, replid: str, within: float, replicas: int = 0, rests: bool = False) -> int:
        """Wait until all up to this offset of that history is with the targets; how far its stream was read.

        `rests`: and then until it rests, as `rest`.

        `within` seconds; releases the GIL. Raise RuntimeError(kind, why): see CopyFault; what is left, or
        that it follows another history, or rests.
        """

    def verify(self, within: float) -> int:
        """Compare a sample of both sides, as `reach`; how many keys were. Raise RuntimeError(kind, why)."""

    def compare(self, within: float) -> int:
        """Compare all of both sides while it goes on, as `reach`; how many keys were. Raise as `verify`."""

    def keep(self, until: float) -> None:
        """Write nothing to a target from then on: seconds of CLOCK_BOOTTIME."""

    def rest(self, within: float) -> int:
        """Have all with the targets and write nothing more, as `reach`. Raise RuntimeError(kind, why)."""

    def go_on(self) -> None:
        """Follow again."""

    def sources(self, sources: bytes) -> None:
        """The nodes to read from are these now (JSON)."""

    def stop(self) -> None:
        """End the thread and wait for that. Idempotent; releases the GIL."""

@final
class Tracing:
    """Requests of a cluster that are noted; made by `DataPlane.trace`."""

    def stop(self) -> None:
        """Note no more; what was found is still there to be taken."""

    def take(self, most: int) -> dict[str, Any]:
        """Up to so many of what was found and not taken yet.

        `records`; `seen` and `dropped` since the begin; `is_over`: none are left, and none come any more.
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

    def lease(self, cluster: str, deadline: float | None) -> None:
        """Until when what is known of the primaries counts (CLOCK_BOOTTIME, seconds; None: for ever).

        Past it workers cut the connections to primaries, as if these had been lost, and requests wait for
        their shards, whatever is applied, until there is a later deadline or none.
        """

    def learn(self, table: bytes) -> None:
        """Replace the command table."""

    def slot(self, cluster: str, key: bytes) -> int:
        """The slot of a key, by the cluster's key families; raise KeyError when it is not served."""

    def node(self, cluster: str, key: bytes) -> str | None:
        """The address of the node that requests for a key go to now; raise KeyError as `slot`.

        None where no node has the key.
        """

    def fileno(self) -> int:
        """An eventfd that is readable while `take` has something."""

    def take(
        self,
    ) -> list[Offloaded | Abandoned | NodeLost | NodeDown | ClientDid | CacheAged | AccessEvent | OutOfFiles]:
        """What has happened since the last call, in its order.

        An `Abandoned` comes after its `Offloaded`. A node that is down is told once, and once when it is not
        any more. Of what clients did, and of losses, there are 1,024 at once at most: more say nothing new;
        of keys whose age is asked for 1,000, and each is asked about once in a second by each worker.
        """

    def answer(self, token: int, reply: bytes) -> None:
        """Reply to an offloaded command. Unknown or stale tokens are ignored."""

    def retry(self, token: int) -> None:
        """Route an offloaded command again, by the present table; it is not offloaded as unknown again."""

    def pass_on(self, token: int, absent: Sequence[bytes] | None = None) -> None:
        """Execute an offloaded command with a rule as if no rule were about it, at the primary.

        Its client hears what the engine answers. A write cancels the leases of its keys first. With `absent`,
        keys that have no value, a read that finds nothing of other keys is offloaded again, its `looks` one
        more. Unknown or stale tokens are ignored.
        """

    def fresh(self, cluster: str, key: bytes, seconds: float) -> None:
        """Ask how old this key is in so many seconds and not before; all workers."""

    @staticmethod
    def tag(slot: int) -> bytes:
        """A hash tag, four letters or digits, that lies in that slot."""

    def statistics(self) -> dict[str, Any]:
        """Counters of all workers, as nested plain values; lists are tuples. Releases the GIL meanwhile."""

    def counts(self, cluster: str | None = None) -> dict[str, dict[str, Any]]:
        """Those of that cluster or of all, by name, without times, shards and nodes."""

    def workers(self) -> list[dict[str, Any]]: ...
    def access_untold(self) -> int: ...
    def hot(self, cluster: str) -> dict[str, Any]:
        """What is asked for now, as the fields of Hot; raise KeyError when the cluster is not served.

        Keys are str of the characters that have their bytes' numbers. Takes up to 1 s; releases the GIL.
        """

    def big(self, cluster: str) -> list[Mapping[str, Any]]:
        """The largest requests and replies, likewise, as the fields of BigKey."""

    def clients(self, client_ids: list[int] | None = None) -> list[dict[str, Any]]:
        """Every connected client, or these, as CLIENT LIST needs it, by their ids.

        A worker does it beside its other work, some in each turn. Waits up to 1 s; releases the GIL.
        """

    def kill(self, client_ids: list[int]) -> int:
        """Close these clients; return how many there were. Beside other work, as `clients`."""

    def standing(self, cluster: str, node: str) -> dict[str, Any]:
        """How a node stands with all workers; times are seconds ago.

        `heard`: when it last sent anything, or None. Of the oldest request that may be why it is silent, if
        there was one at their last ticks: `command`, `age`, `client_id` (0: it has gone), `address`, `name`.
        """

    def spare(self, cluster: str, node: str, seconds: float) -> None:
        """Give no connection to that node up for its silence for so long."""

    def expect_slow(self, cluster: str, commands: list[str]) -> None:
        """These commands took long lately, and no others beside those of which the table says it."""

    def slow_log(self, cluster: str, most: int) -> list[dict[str, Any]]:
        """So many requests that took long, the newest first, of all workers.

        Raise KeyError of an unknown cluster. As in a trace and of spans, each has `id`, `at` (microseconds
        since 1970), `microseconds`, `phases` (of `waited`, `parked`, `upstream`, `client`; None: not known),
        `command`, `arguments`, `key`, `client_id`, `client`, `name`, `user`, `db`, `slot`, `shard`, `node`,
        `request_bytes`, `reply_bytes`, `outcome` (`ok`, `error` or `gone`) and `error`, its first word.
        """

    def slow_log_len(self, cluster: str) -> int:
        """How many are kept: at most as many as the cluster's spec says. Raise KeyError."""

    def slow_log_reset(self, cluster: str) -> None:
        """Forget them."""

    def trace(self, cluster: str, pattern: bytes, limit: int) -> Tracing:
        """Note requests about a key like that, `*` for all, as long as what this returns is there.

        Raise KeyError of an unknown cluster, RuntimeError when there are too many traces.
        """

    def sample(self, share: float, queue: int) -> None:
        """Note this share of all requests, 0-1, and let so many wait to be taken."""

    def spans(self, most: int) -> tuple[list[dict[str, Any]], int]:
        """Up to so many of them, with `cluster`; and how many found no room since the start."""

    def topics(self, cluster: str, kind: str, pattern: bytes | None = None) -> bytes:
        """What the cluster's clients are subscribed to and the pattern matches, as an encoded array of names.

        The kind is `channel`, `pattern` or `shard`. Releases the GIL. Raise OverflowError when matching
        would take too long.
        """

    def subscribers(self, cluster: str, kind: str, names: list[bytes]) -> list[int]:
        """How many clients of the cluster are subscribed to each of these. Releases the GIL."""

    def topic_counts(self, cluster: str) -> tuple[int, int, int]:
        """How many channels, patterns and shard channels the cluster's clients are subscribed to."""

    def script(self, cluster: str, digest: bytes) -> bytes | None:
        """The script of that digest, if it is remembered that a client of the cluster loaded or ran it."""

    def are_in(self, cluster: str, slots: list[tuple[int, int]], keys: list[bytes]) -> list[bool]:
        """Which of these keys are in one of these slots; raise KeyError when the cluster is not served."""

    def settle(self, cluster: str, within: float) -> bool:
        """Wait until nothing is under way that the cluster holds; whether that is so within these seconds."""

    def pause(
        self, cluster: str, seconds: float, only_writes: bool, functions: list[tuple[bytes, bool]]
    ) -> None:
        """Hold requests of the cluster's clients, or only writes, for so long; 0 ends it.

        Functions by name, and whether they say that they write nothing: a pause of writes lets those pass.
        """

    def unblock(self, client_id: int, with_error: bool) -> bool:
        """End a client's wait for a blocking command; return whether it was waiting. Waits up to 1 s."""

    def limit(self, clients: int, dedicated: int) -> None:
        """Refuse clients beyond so many of all clusters together; 0 = no limit.

        Nor are more connections of clients' own opened than so many; those that are there stay.
        """

    def drain(self, grace: float = 0.0) -> None:
        """Stop listening; close each client once it has been answered, idle ones after `grace` seconds."""

    def inherit(self, address: str, socket: int, is_kept: bool) -> None:
        """Use a copy of this listening socket for an endpoint with that address; raise OSError.

        If it is kept, an endpoint that comes back after a config without it listens with it again.
        """

    def sockets(self) -> list[tuple[str, int]]:
        """A copy of each listening socket by the address of its endpoint; the caller closes them."""

    def pass_to(self, socket: int) -> None:
        """Leave endpoints and clients to the process at the other end of a unix stream; raise OSError."""

    def take_over(self, socket: int) -> None:
        """Serve the clients that come through a copy of this unix stream; raise OSError."""

    def stop(self) -> None:
        """Close everything and end the threads. Idempotent."""

@final
class RdbReading:
    """One reading of an RDB file; `owned` is JSON: families, and slots whose keys count (null = all)."""

    def __new__(cls, path: Path, owned: bytes) -> Self: ...
    def run(self) -> str:
        """Read it in this thread, without the GIL, and say what is in it, as JSON.

        Raise ValueError when it cannot be used, OSError when not read, InterruptedError when stopped.
        """

    @property
    def keys(self) -> int:
        """Read so far."""

    def stop(self) -> None: ...

@final
class Snapshot:
    """A thread that reads an engine's RDB into a new file; `end` and `owned` are JSON."""

    def __new__(cls, end: bytes, path: Path, owned: bytes) -> Self: ...
    def status(self) -> str:
        """As JSON."""

    def wait(self, phase: str, within: float) -> None:
        """Wait without the GIL until it is in a later phase than this, has ended, or so long."""

    def stop(self) -> None:
        """End the thread and wait for that."""

@final
class Loader:
    """Threads that restore RDB files; `plan` is JSON."""

    def __new__(cls, plan: bytes) -> Self: ...
    def status(self) -> str:
        """As JSON."""

    def wait(self, within: float) -> None:
        """Wait without the GIL until it is over, or so long."""

    def stop(self) -> None:
        """End the threads and wait for that."""
