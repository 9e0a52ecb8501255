"""Reads what somebody else's nodes are logged in to and spoken to in TLS with."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from shardproxy.config.files import FilesRead
from shardproxy.config.secrets import Credentials, Secret, SecretError
from shardproxy.config.tls import NodeTls as TlsFiles
from shardproxy.dataplane.tls import NodeTlsSettings, TlsError
from shardproxy.importing.errors import ForeignError
from shardproxy.importing.url import Foreign
from shardproxy.nodes import Credentials as Login
from shardproxy.nodes import LinkTimeouts, NodeLinks, NodeTls
from shardproxy.topology.logins import node_tls_of

TIMEOUTS = LinkTimeouts(connect=5.0, reply=30.0)  # it is far away, and busy


@dataclass(frozen=True, slots=True)
class Access:
    """How it is spoken to."""

    credentials: Credentials | None = field(default=None, repr=False)  # of nodes
    tls: NodeTlsSettings | None = field(default=None, repr=False)
    of_sentinels: Credentials | None = field(default=None, repr=False)

    @classmethod
    def read(cls, foreign: Foreign) -> Access:
        """Read its files now; raise ForeignError."""
        password = foreign.password
        if foreign.password_file is not None:
            password = _secret(foreign.password_file)
        sentinel = foreign.sentinel_password_file
        return cls(
            Credentials(foreign.user, password) if password is not None else None,
            _tls(foreign) if foreign.speaks_tls else None,
            Credentials(foreign.sentinel_user, _secret(sentinel)) if sentinel is not None else None,
        )

    @property
    def login(self) -> Login | None:
        """The nodes' login, as the control plane's connections take it."""
        return login_of(self.credentials)

    @property
    def node_tls(self) -> NodeTls | None:
        return node_tls_of(self.tls)

    def links(self) -> NodeLinks:
        """Connections to its nodes; a context manager."""
        login, tls = self.login, self.node_tls
        return NodeLinks(credentials=lambda _: login, tls=lambda _: tls, timeouts=TIMEOUTS)

    def sentinel_links(self) -> NodeLinks:
        login, tls = login_of(self.of_sentinels), self.node_tls
        return NodeLinks(credentials=lambda _: login, tls=lambda _: tls, timeouts=TIMEOUTS)


def login_of(given: Credentials | None) -> Login | None:
    return Login(given.password, given.username) if given is not None else None


def _secret(file: str) -> str:
    try:
        return Secret(file=file).read()
    except SecretError as error:
        raise ForeignError(str(error)) from None


def _tls(foreign: Foreign) -> NodeTlsSettings:
    ca = foreign.ca_file or ssl.get_default_verify_paths().openssl_cafile
    if not Path(ca).exists():
        raise ForeignError(
            f"{foreign}: nobody vouches for its certificates here: add ?ca_file=/path/of/ca.pem"
        )
    files = TlsFiles.model_validate(
        {
            "ca": ca,
            "certificate": foreign.cert_file,
            "key": foreign.key_file,
            "server_name": foreign.server_name,
        }
    )
    try:
        return NodeTlsSettings.read(files, FilesRead())
    except TlsError as error:
        raise ForeignError(f"{foreign}: {error}") from None
