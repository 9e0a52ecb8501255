"""TLS: with clients, and with nodes. Files are named here and read with the secrets."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.model import Address

MAX_CERTIFICATES = 100

PemFile = Annotated[str, Field(min_length=1, max_length=4000, examples=["/etc/shardproxy/tls.crt"])]
ServerName = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$", examples=["redis.example.com"])
]


class ClientCertificate(Enum):
    """Whether clients show a certificate."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class TlsVersion(Enum):
    """A version of TLS."""

    TLS12 = "1.2"
    TLS13 = "1.3"


def _version(value: object) -> object:
    return str(value) if isinstance(value, float) else value  # YAML takes 1.3 for a number


Version = Annotated[TlsVersion, BeforeValidator(_version, json_schema_input_type=TlsVersion | float)]


class UserName(Enum):
    """What of a client's certificate names its user."""

    CN = "cn"
    SAN = "san"


def refuse_half(certificate: str | None, key: str | None) -> None:
    """Raise where one of the two is given without the other."""
    if (certificate is None) != (key is None):
        given, other = ("certificate", "key") if key is None else ("key", "certificate")
        raise refused(f"{given} needs its {other}", f"add {other}: and a file of PEM")


class CertificatePair(Section):
    """A certificate and its key, in files of PEM. They are read again when they change."""

    certificate: PemFile
    """The certificate, and behind it those that vouch for it."""
    key: PemFile
    """Its private key, without a passphrase."""


class Tls(Section):
    """How clients speak TLS. Files are found from where this file is, and read again when they change."""

    certificate: PemFile | None = None
    """A file of PEM: the certificate, and behind it those that vouch for it. Clients verify the name they
    connect to: it has to be for that."""
    key: PemFile | None = None
    """A file of PEM: its private key, without a passphrase."""
    certificates: Annotated[tuple[CertificatePair, ...], Field(max_length=MAX_CERTIFICATES)] = ()
    """More certificates: a client is shown the one that is for the name it asks for, else the first."""
    client_ca: PemFile | None = None
    """A file of PEM: who signs the certificates of clients. Without it clients need none."""
    client: ClientCertificate | None = None
    """Whether a client has to show a certificate (`required`) or may (`optional`); with `client_ca`. Default:
    required."""
    minimum: Version = TlsVersion.TLS12
    """The oldest version clients may speak: 1.2 or 1.3."""
    user: UserName | None = None
    """A client that shows a certificate is the user of `access` that this names: by its common name (`cn`) or
    by the first DNS name, email address or URI among its alternative names (`san`)."""

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            given, other = ("certificate", "key") if self.key is None else ("key", "certificate")
            raise refused(f"{given} needs its {other}", f"add {other}: and a file of PEM")
        if self.certificate is None and not self.certificates:
            raise refused("names no certificate", "write {certificate: tls.crt, key: tls.key}")
        if self.client_ca is None and (self.user is not None or self.client is not None):
            key = "user" if self.user is not None else "client"
            raise refused(f"{key} needs client_ca", "add client_ca: who signs the certificates of clients")
        return self

    @property
    def asks_client(self) -> ClientCertificate:
        """Whether a client has to show a certificate, where it is asked for one."""
        return self.client or ClientCertificate.REQUIRED

    @property
    def pairs(self) -> Iterator[tuple[str, str]]:
        """The files of each certificate and its key, the first one first."""
        if self.certificate is not None and self.key is not None:
            yield self.certificate, self.key
        for pair in self.certificates:
            yield pair.certificate, pair.key


class NodeTls(Section):
    """How the nodes of a cluster are spoken to in TLS; all of them, for commands, health and failover alike.
    Files are found from where this file is, and read again when they change."""

    ca: PemFile
    """A file of PEM: who signs the nodes' certificates, or such a certificate itself. For those of public
    authorities: /etc/ssl/certs/ca-certificates.crt."""
    certificate: PemFile | None = None
    """A file of PEM: the certificate that the nodes are shown, where they want one (tls-auth-clients)."""
    key: PemFile | None = None
    """A file of PEM: its private key, without a passphrase."""
    server_name: ServerName | None = None
    """The name all nodes' certificates are for. Default: each node's own host."""

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        refuse_half(self.certificate, self.key)
        return self


def why_no_tls(address: Address) -> tuple[str, str] | None:
    """Why TLS cannot be spoken at an address, and what to write."""
    if not address.is_unix:
        return None
    return f"TLS is not spoken at {address}", "unix sockets are plain, and guarded by their files' modes"
