"""Whom etcd is spoken to as, and how: addresses, a login, TLS. Files are read when they are needed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from shardproxy.config.files import fingerprint
from shardproxy.config.secrets import SecretError
from shardproxy.config.store import EtcdStore, StoreTls
from shardproxy.store.etcd.errors import EtcdRefusedError


@dataclass(frozen=True, slots=True)
class Access:
    """What the config says of it; names of files that are relative are found from `directory`."""

    settings: EtcdStore
    directory: Path

    @property
    def endpoints(self) -> tuple[str, ...]:
        return self.settings.endpoints

    def login(self) -> dict[str, str] | None:
        """Name and password as they are now; raise EtcdRefusedError when there is none to be read."""
        if self.settings.username is None or self.settings.password is None:
            return None
        try:
            return {"name": self.settings.username, "password": self.settings.password.read()}
        except SecretError as error:
            raise EtcdRefusedError(f"the password for etcd: {error}") from error

    def context(self) -> ssl.SSLContext | None:
        """What TLS is spoken with, its files as they are now; raise EtcdRefusedError."""
        tls = self.settings.tls
        if tls is None:
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.directory / tls.ca))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if tls.certificate is not None and tls.key is not None:
                context.load_cert_chain(self.directory / tls.certificate, self.directory / tls.key)
        except (OSError, ValueError) as error:
            raise EtcdRefusedError(f"TLS for etcd: {error}: see {', '.join(self._files(tls))}") from error
        return context

    def files_seen(self) -> object:
        """Differs when a file of TLS has changed."""
        tls = self.settings.tls
        return tls and [fingerprint(Path(file)) for file in self._files(tls)]

    @property
    def server_name(self) -> str | None:
        return self.settings.tls.server_name if self.settings.tls is not None else None

    def _files(self, tls: StoreTls) -> list[str]:
        return [str(self.directory / file) for file in (tls.ca, tls.certificate, tls.key) if file is not None]
