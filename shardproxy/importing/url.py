"""Where somebody else's keys are, as people write it. Pure.

    redis://[user@]host[:port][,host..][/database][?option=value&..]   a node, or nodes of one Redis Cluster
    rediss://..                                                        the same by TLS
    sentinel://[user@]host[:port][,host..]/name[/database][?..]        Sentinels, and what they call it
    sentinels://..                                                     the same by TLS, their nodes too
    unix:/path[?..]

A password may stand in it (user:password@), but whoever keeps the text has to refuse that: `is_secret`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from shardproxy.importing.errors import ForeignError
from shardproxy.model import Address

PORT = 6379
SENTINEL_PORT = 26379
MAX_HOSTS = 64
MAX_DATABASE = 1 << 20
MAX_SHOWN = 200  # characters
_SCHEME = re.compile(r"[a-z]{1,12}")
OPTIONS = (
    "password_file",
    "ca_file",
    "cert_file",
    "key_file",
    "server_name",
    "sentinel_user",
    "sentinel_password_file",
)
SCHEMES = {
    "redis": (False, False),
    "rediss": (False, True),
    "sentinel": (True, False),
    "sentinels": (True, True),
}  # asks Sentinels, by TLS
HINT = (
    "write redis://[user@]host[:port], rediss://.. for TLS, sentinel://host[:port],host/NAME or unix:/path,"
    " and options behind ?: password_file=/path, ca_file=/path"
)


@dataclass(frozen=True, slots=True)
class Foreign:
    """Where somebody else's keys are, and where its secrets are kept."""

    addresses: tuple[Address, ...]  # of nodes, or of Sentinels
    name: str = ""  # what Sentinels call it; empty = no Sentinels are asked
    database: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    speaks_tls: bool = False
    password_file: str | None = None
    ca_file: str | None = None  # PEM of who vouches for it; None = whom this machine trusts
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None  # that its certificates have
    sentinel_user: str | None = None
    sentinel_password_file: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it; raise ForeignError, which never quotes a password."""
        try:
            return cls._parse(text)
        except ValueError as error:
            # what urlsplit and Address say may quote a part with a password in it
            is_told = "@" not in text and shown(text) == text
            why = str(error) if is_told else "its hosts cannot be read"
            raise ForeignError(f"{shown(text)}: {why}: {HINT}") from None

    @classmethod
    def _parse(cls, text: str) -> Self:
        url = urlsplit(text)
        if url.fragment or "@" in f"{url.path}{url.query}" or any(not sign.isprintable() for sign in text):
            raise ForeignError(f"{shown(text)}: write %40 for @, %23 for #, %2F for / and %3F for ? in names")
        if url.scheme == "unix" and url.netloc:
            raise ForeignError(f"{shown(text)}: a socket is of this machine: unix:/path")
        if url.scheme == "unix":
            address = Address.parse(f"unix:{unquote(url.path)}")
            return cls((address,), **_options(text, url, uses_tls=False, asks_sentinels=False))
        if url.scheme not in SCHEMES:
            raise ForeignError(f"{shown(text)}: {HINT}")
        asks_sentinels, uses_tls = SCHEMES[url.scheme]
        options = _options(text, url, uses_tls=uses_tls, asks_sentinels=asks_sentinels)
        login, _, hosts = url.netloc.rpartition("@")
        user, _, password = login.partition(":")
        words = [unquote(word) for word in url.path.split("/") if word]
        name = words.pop(0) if asks_sentinels and words else ""
        if asks_sentinels and not name:
            raise ForeignError(f"{shown(text)}: what do the Sentinels call it? sentinel://host:port/NAME")
        if len(words) > 1:
            raise ForeignError(f"{shown(text)}: one number of a database at most: {HINT}")
        return cls(
            tuple(_addresses(text, hosts, SENTINEL_PORT if asks_sentinels else PORT)),
            name=name,
            database=_database(text, words[0]) if words else 0,
            user=unquote(user) or None,
            password=unquote(password) or None,
            speaks_tls=uses_tls,
            **options,
        )

    @property
    def is_secret(self) -> bool:
        """A password stands in it: it is kept nowhere."""
        return self.password is not None

    @property
    def files(self) -> tuple[str, ...]:
        """Those of this machine that are read to reach it."""
        named = (
            self.password_file,
            self.sentinel_password_file,
            self.ca_file,
            self.cert_file,
            self.key_file,
        )
        return tuple(file for file in named if file is not None)

    def __str__(self) -> str:
        """As people wrote it, without a password and options."""
        if self.addresses[0].is_unix:
            return str(self.addresses[0])
        scheme = next(s for s, is_so in SCHEMES.items() if is_so == (bool(self.name), self.speaks_tls))
        words = [word for word in (self.name, str(self.database) if self.database else "") if word]
        hosts = ",".join(map(str, self.addresses))
        return "/".join((f"{scheme}://{hosts}", *words))


def shown(text: str) -> str:
    """As much of a text as has no password: the scheme, and what follows the last @, without options."""
    scheme, mark, rest = text.partition("://")
    if not mark or _SCHEME.fullmatch(scheme) is None:
        return "the URL"
    _, at, place = rest.rpartition("@")
    place = place.partition("?")[0]
    if not at and not all(_is_host(host) for host in place.partition("/")[0].split(",")):
        place = ""  # a password, perhaps, without the host that was to follow
    return f"{scheme}://{place[:MAX_SHOWN]}" + ("..." if len(place) > MAX_SHOWN else "")


def _is_host(text: str) -> bool:
    name, _, port = text.rpartition(":")
    return text.endswith("]") or not name or (port.isascii() and port.isdigit())


def _options(text: str, url: SplitResult, *, uses_tls: bool, asks_sentinels: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parse_qsl(url.query, keep_blank_values=True):
        if name not in OPTIONS:
            raise ForeignError(
                f"{shown(text)}: {_quoted(name, text)} is no option: they are {', '.join(OPTIONS)}"
            )
        if name in found or not value:
            raise ForeignError(f"{shown(text)}: option {name} has one value")
        if name.endswith("_file") and not value.startswith("/"):
            raise ForeignError(f"{shown(text)}: option {name} is an absolute path")
        found[name] = value
    secured = {"ca_file", "cert_file", "key_file", "server_name"} & set(found)
    if secured and not uses_tls:
        raise ForeignError(f"{shown(text)}: {sorted(secured)[0]} is of TLS: rediss:// or sentinels://")
    if not asks_sentinels and any(name.startswith("sentinel") for name in found):
        raise ForeignError(f"{shown(text)}: sentinel_user and sentinel_password_file are of sentinel://")
    if ("cert_file" in found) != ("key_file" in found):
        raise ForeignError(f"{shown(text)}: cert_file and key_file belong together")
    return found


def _quoted(word: str, text: str) -> str:
    """A part of a text; where a password stands in that, the part may be one of it."""
    return "what it has" if "@" in text else repr(word[:MAX_SHOWN])


def _addresses(text: str, hosts: str, port: int) -> Iterator[Address]:
    parts = hosts.split(",")
    if len(parts) > MAX_HOSTS:
        raise ForeignError(f"{shown(text)}: at most {MAX_HOSTS} hosts")
    for part in parts:
        has_port = ":" in part.rpartition("]")[2]
        address = Address.parse(part if has_port else f"{part}:{port}")
        if not address.port:
            raise ForeignError(f"{shown(text)}: port 0 cannot be connected to")
        yield address


def _database(text: str, word: str) -> int:
    if not (word.isascii() and word.isdigit() and int(word) < MAX_DATABASE):
        raise ForeignError(f"{shown(text)}: {_quoted(word, text)} is no number of a database")
    return int(word)
