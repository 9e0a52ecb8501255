"""Certificates and keys, read from their files, as the data plane wants to be told.

Holds private keys: never log a spec.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypedDict

from shardproxy.config import Cluster
from shardproxy.config.files import FilesRead, why_exposed
from shardproxy.config.tls import NodeTls, Tls
from shardproxy.config.topology import FromSentinel
from shardproxy.dataplane import _native

MAX_PEM = 1 << 20  # bytes; all public authorities' certificates are 200 KiB


class TlsError(Exception):
    """Files of certificates that cannot be used; the reasons name file and fault, never a key."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("\n".join(reasons))
        self.reasons = reasons


class PairSpec(TypedDict):
    certificate: str
    key: str


class TlsSpec(TypedDict):
    certificates: list[PairSpec]
    client_ca: str | None
    client: str
    minimum: str
    user: str | None


class NodeTlsSpec(TypedDict):
    ca: str
    certificate: str | None
    key: str | None
    server_name: str | None


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """What a certificate that is served says of itself, and where it was read."""

    file: str
    name: str  # its first alternative name, else its common name
    not_after: float  # seconds since 1970
    key: str  # the file of its key


@dataclass(frozen=True, slots=True)
class Pair:
    """PEM."""

    certificate: str = field(repr=False)
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What clients are spoken to with; all PEM."""

    pairs: tuple[Pair, ...]
    client_ca: str | None = field(repr=False)
    client: str
    minimum: str
    user: str | None
    files: tuple[CertificateFile, ...] = ()

    @classmethod
    def read(cls, config: Tls, files: FilesRead) -> Self:
        """Read the files now; raise TlsError."""
        reader = _Reader(files)
        pairs = [reader.pair(certificate, key) for certificate, key in config.pairs]
        client_ca = reader.certificates(config.client_ca) if config.client_ca is not None else None
        reader.check()
        return cls(
            tuple(pairs),
            client_ca,
            config.asks_client.value,
            config.minimum.value,
            config.user.value if config.user is not None else None,
            tuple(reader.read),
        )

    def spec(self) -> TlsSpec:
        return TlsSpec(
            certificates=[PairSpec(certificate=pair.certificate, key=pair.key) for pair in self.pairs],
            client_ca=self.client_ca,
            client=self.client,
            minimum=self.minimum,
            user=self.user,
        )


@dataclass(frozen=True, slots=True)
class NodeTlsSettings:
    """What nodes are spoken to with; all PEM."""

    ca: str = field(repr=False)
    own: Pair | None
    server_name: str | None
    files: tuple[CertificateFile, ...] = ()

    @classmethod
    def read(cls, config: NodeTls, files: FilesRead) -> Self:
        """Read the files now; raise TlsError."""
        reader = _Reader(files)
        ca = reader.certificates(config.ca)
        own = None
        if config.certificate is not None and config.key is not None:
            own = reader.pair(config.certificate, config.key)
        reader.check()
        return cls(ca, own, config.server_name, tuple(reader.read))

    def spec(self) -> NodeTlsSpec:
        return NodeTlsSpec(
            ca=self.ca,
            certificate=self.own.certificate if self.own else None,
            key=self.own.key if self.own else None,
            server_name=self.server_name,
        )


def tls_read(config: Cluster, files: FilesRead) -> tuple[TlsSettings | None, NodeTlsSettings | None]:
    """Read all certificates of a cluster now; raise TlsError, whose reasons begin with the key concerned."""
    reasons: list[str] = []
    tls = node_tls = None
    try:
        tls = TlsSettings.read(config.tls, files) if config.tls is not None else None
    except TlsError as error:
        reasons += [f"tls: {reason}" for reason in error.reasons]
    try:
        node_tls = NodeTlsSettings.read(config.node_tls, files) if config.node_tls is not None else None
    except TlsError as error:
        reasons += [f"node_tls: {reason}" for reason in error.reasons]
    if reasons:
        raise TlsError(tuple(reasons))
    return tls, node_tls


def decider_tls_read(config: FromSentinel, files: FilesRead) -> NodeTlsSettings | None:
    """The same of those who decide about a cluster's topology."""
    try:
        return NodeTlsSettings.read(config.tls, files) if config.tls is not None else None
    except TlsError as error:
        raise TlsError(tuple(f"topology.tls: {reason}" for reason in error.reasons)) from error


def key_warnings(certificates: Iterable[CertificateFile]) -> Iterator[str]:
    """Say which of their keys everybody may read."""
    said = (why_exposed(Path(key)) for key in dict.fromkeys(one.key for one in certificates))
    yield from (why for why in said if why is not None)


class _Reader:
    """Reads files until all that is wrong is known."""

    def __init__(self, files: FilesRead) -> None:
        self._files = files
        self._reasons: list[str] = []
        self.read: list[CertificateFile] = []

    def check(self) -> None:
        if self._reasons:
            raise TlsError(tuple(self._reasons))

    def pair(self, certificate: str, key: str) -> Pair:
        """A certificate and its key, and whether they fit."""
        pair = Pair(self.certificates(certificate, key), self._text(key))
        if not self._reasons:
            try:
                _native.certificate_check(pair.certificate, pair.key)
            except ValueError as error:
                what, _, why = str(error).partition(": ")
                name = certificate if what == "certificate" else key
                self._reasons.append(f"{self._files.note(name)}: {_KEY_FAULTS.get(why, why)}")
        return pair

    def certificates(self, name: str, key: str | None = None) -> str:
        """One certificate or more; the first is the key's, if there is one."""
        path, text = self._files.note(name), self._text(name)
        if not text:
            return text
        try:
            found = _native.certificates_read(text)
        except ValueError as error:
            self._reasons.append(f"{path}: {str(error).removeprefix('certificate: ')}")
            return text
        common_name, names, _, not_after = found[0]
        if key is not None:
            called, kept = (names or [common_name or ""])[0], str(self._files.note(key))
            self.read.append(CertificateFile(str(path), called, float(not_after), kept))
        return text

    def _text(self, name: str) -> str:
        path = self._files.note(name)
        why = ""
        try:
            if path.stat().st_size > MAX_PEM:
                why = "is too large to be PEM"
            else:
                return path.read_text(encoding="ascii")
        except OSError as error:
            why = f"cannot be read: {(error.strerror or str(error)).lower()}"
        except (UnicodeDecodeError, ValueError):
            why = "is not PEM"
        self._reasons.append(f"{Path(path)}: {why}")
        return ""


_KEY_FAULTS = {
    "it is not the certificate's": "this key is not the certificate's",
    "there is no private key in it": "there is no private key in it that can be read without a passphrase",
}
