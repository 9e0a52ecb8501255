"""Reads nutcracker.yml as twemproxy does (its README, "Configuration"), with our error texts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from shardproxy.config.checks import Path, show
from shardproxy.config.document import Document, read_document
from shardproxy.config.errors import ConfigError, Problem
from shardproxy.config.hashing import KeyHash
from shardproxy.model import Address

DISTRIBUTIONS = ("ketama", "modula", "random")
DEFAULT_PORT = 11211  # twemproxy leaves this one out of a node's name, as libmemcached does


@dataclass(frozen=True, slots=True)
class Server:
    """One line under `servers`."""

    address: Address
    weight: int
    name: str  # what ketama hashes


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool, with twemproxy's defaults."""

    name: str
    listen: Address
    servers: tuple[Server, ...]
    permissions: str | None = None  # of a listening unix socket
    hash: KeyHash = KeyHash.FNV1A_64
    hash_tag: str | None = None
    distribution: str = "ketama"
    timeout: int = 0  # milliseconds, 0 = none
    backlog: int | None = None
    client_connections: int = 0  # 0 = no limit
    tcpkeepalive: bool = False
    reuse_port: bool = False
    redis: bool = False
    redis_auth: bool = False  # whether there is one; what it is does not leave the file
    redis_db: int = 0
    preconnect: bool = False
    auto_eject_hosts: bool = False
    server_connections: int = 1
    server_retry_timeout: int = 30000  # milliseconds
    server_failure_limit: int = 2


def read_pools(text: str, source: str) -> tuple[Pool, ...]:
    """Read every pool; raise ConfigError with every problem."""
    document = read_document(text)
    problems = list(document.problems)
    pools: list[Pool] = []
    if isinstance(document.value, Mapping) and document.value:
        for name, settings in document.value.items():
            reader = _PoolReader(document, name)
            pool = reader.read(settings)
            problems += reader.problems
            if pool is not None:
                pools.append(pool)
    elif not problems:
        hint = "a twemproxy config has pools, each with listen and servers"
        problems.append(Problem(0, 0, "", "has no pools", hint))
    if problems:
        raise ConfigError(source, problems)
    return tuple(pools)


class _PoolReader:
    """Reads the settings of one pool and collects what is wrong with them."""

    def __init__(self, document: Document, pool: str) -> None:
        self._document = document
        self._pool = pool
        self.problems: list[Problem] = []

    def read(self, settings: object) -> Pool | None:
        path: Path = (self._pool,)
        if not isinstance(settings, Mapping):
            self._problem(path, "must be a mapping of keys to values", "each pool has listen and servers")
            return None
        values: dict[str, object] = {}
        for key, value in settings.items():
            if key not in KEYS:
                near = difflib.get_close_matches(key, KEYS, n=1)
                self._problem(
                    (*path, key), "is not a key of twemproxy", f"did you mean {near[0]}?" if near else None
                )
                continue
            if key == "servers":
                values[key] = self._servers(value)
                continue
            try:
                values.update(READERS[key](value))
            except ValueError as e:
                self._problem((*path, key), str(e), None)
        for key in ("listen", "servers"):
            if key not in settings:
                self._problem((*path, key), "is missing", "every pool has listen and servers")
        return None if self.problems else Pool(name=self._pool, **values)  # type: ignore[arg-type]

    def _servers(self, lines: object) -> tuple[Server, ...]:
        path: Path = (self._pool, "servers")
        if not isinstance(lines, list) or not lines:
            self._problem(path, "must be a list", "as in: - 127.0.0.1:11211:1")
            return ()
        servers = []
        for i, line in enumerate(lines):
            try:
                servers.append(_server(str(line)))
            except ValueError as e:
                self._problem((*path, i), str(e), "as in 127.0.0.1:11211:1, the weight from 1 to 999999")
        return tuple(servers)

    def _problem(self, path: Path, message: str, hint: str | None) -> None:
        place = self._document.place(path)
        self.problems.append(Problem(place.line, place.column, show(path), message, hint))


def _listen(value: object) -> dict[str, object]:
    text = str(value)
    if text.startswith("/"):
        path, _, permissions = text.partition(" ")
        return {"listen": Address.parse(f"unix:{path}"), "permissions": permissions or None}
    return {"listen": _tcp(text)}


def _tcp(text: str) -> Address:
    """Read host:port, in which an IPv6 host has no brackets."""
    host, _, port = text.rpartition(":")
    return Address.parse(f"[{host}]:{port}" if ":" in host and not host.startswith("[") else text)


def _server(text: str) -> Server:
    """Read host:port:weight or /path:weight, then a name if there is one."""
    where, _, given = text.strip().partition(" ")
    given = given.strip()
    place, _, weight = where.rpartition(":")
    is_unix = place.startswith("/")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", weight) or not (is_unix or ":" in place):
        raise ValueError(f"{text!r}: expected host:port:weight or /path:weight")
    if is_unix:
        return Server(Address.parse(f"unix:{place}"), int(weight), given or f"{place}:")
    address = _tcp(place)
    name = place.rpartition(":")[0] if address.port == DEFAULT_PORT else place
    return Server(address, int(weight), given or name)


def _hash(value: object) -> dict[str, object]:
    try:
        return {"hash": KeyHash(value)}
    except ValueError:
        raise ValueError(f"must be one of {', '.join(one.value for one in KeyHash)}") from None


def _hash_tag(value: object) -> dict[str, object]:
    if not isinstance(value, str) or len(value) != 2:
        raise ValueError("must be two characters")
    return {"hash_tag": value}


def _distribution(value: object) -> dict[str, object]:
    if value not in DISTRIBUTIONS:
        raise ValueError(f"must be one of {', '.join(DISTRIBUTIONS)}")
    return {"distribution": value}


def _password(value: object) -> dict[str, object]:
    return {"redis_auth": value not in (None, "")}


def _number(key: str) -> Callable[[object], dict[str, object]]:
    def read(value: object) -> dict[str, object]:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError("must be a whole number")
        return {key: value}

    return read


def _switch(key: str) -> Callable[[object], dict[str, object]]:
    def read(value: object) -> dict[str, object]:
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return {key: value}

    return read


def _readers() -> Iterator[tuple[str, Callable[[object], dict[str, object]]]]:
    yield from {"listen": _listen, "hash": _hash, "hash_tag": _hash_tag}.items()
    yield from {"distribution": _distribution, "redis_auth": _password}.items()
    for key in ("redis", "preconnect", "auto_eject_hosts", "tcpkeepalive", "reuse_port"):
        yield key, _switch(key)
    for key in ("timeout", "backlog", "client_connections", "redis_db"):
        yield key, _number(key)
    for key in ("server_connections", "server_retry_timeout", "server_failure_limit"):
        yield key, _number(key)


READERS = dict(_readers())
KEYS = frozenset(READERS) | {"servers"}
