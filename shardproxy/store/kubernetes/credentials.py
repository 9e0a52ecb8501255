"""Where the API server is, and as whom it is spoken to: as the config says, else as a pod is told."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from shardproxy.config.secrets import MAX_SECRET, SecretError
from shardproxy.config.store import KubernetesStore
from shardproxy.store.interface import StoreUnavailableError

POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # token, ca.crt and namespace, in every pod


class Token:
    """A file that is read again when it was replaced: the token in a pod lives for an hour."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, int, int] | None = None
        self._token = ""

    def get(self) -> str:
        """Raise StoreUnavailableError."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp != self._read:
                with self._path.open("rb") as file:
                    self._token = file.read(MAX_SECRET).decode().strip()
                self._read = stamp
        except (OSError, UnicodeDecodeError) as error:
            raise StoreUnavailableError(
                f"Kubernetes: the token in {self._path} cannot be read: {error}"
            ) from None
        return self._token

    def forget(self) -> None:
        """It was not accepted: read it again."""
        self._read = None


@dataclass(frozen=True, slots=True)
class Access:
    """All that it takes to speak to the API server."""

    server: str
    namespace: str
    config: KubernetesStore
    directory: Path
    pod: Path = POD

    def tokens(self) -> Token | None:
        """What reads the token anew; None where none is configured and this is no pod."""
        token = self.config.token
        if token is None:
            path = self.pod / "token"
            return Token(path) if self.config.server is None or path.exists() else None
        return Token(Path(token.file)) if token.file is not None else None

    def fixed_token(self) -> str | None:
        """A token of the environment; raise StoreUnavailableError."""
        token = self.config.token
        if token is None or token.env is None:
            return None
        try:
            return token.read()
        except SecretError as error:
            raise StoreUnavailableError(f"Kubernetes: {error}") from None

    def context(self) -> ssl.SSLContext | None:
        """What TLS is spoken with; None for http://. Raise StoreUnavailableError."""
        if not self.server.startswith("https://"):
            return None
        tls = self.config.tls
        ca = self.directory / tls.ca if tls is not None else self.pod / "ca.crt"
        try:
            context = ssl.create_default_context(cafile=str(ca))
            if tls is not None and tls.certificate is not None and tls.key is not None:
                context.load_cert_chain(self.directory / tls.certificate, self.directory / tls.key)
        except (OSError, ssl.SSLError) as error:
            raise StoreUnavailableError(f"Kubernetes: {ca}: {error}: set store.kubernetes.tls.ca") from None
        return context


def access_of(config: KubernetesStore, directory: Path, *, pod: Path = POD) -> Access:
    """Find the server and the namespace; raise StoreUnavailableError with what to set."""
    server, namespace = config.server, config.namespace
    if server is None:
        host, port = (
            os.environ.get("KUBERNETES_SERVICE_HOST"),
            os.environ.get("KUBERNETES_SERVICE_PORT", "443"),
        )
        if not host:
            raise StoreUnavailableError("this is no pod of Kubernetes: set store.kubernetes.server")
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    if namespace is None:
        try:
            namespace = (pod / "namespace").read_text().strip()
        except OSError:
            raise StoreUnavailableError(
                "this is no pod of Kubernetes: set store.kubernetes.namespace"
            ) from None
    return Access(server, namespace, config, directory, pod)
