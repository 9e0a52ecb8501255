"""Where a node or an endpoint is reached."""

from __future__ import annotations

from dataclasses import dataclass

NOT_IN_HOSTS = frozenset("/\\\"'`,;=<>()[]}|&#!@^")  # neither in names, nor in addresses with a zone


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A TCP address (host and port) or a unix socket (path)."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port``, ``[ipv6]:port`` or ``unix:/path``; raise ValueError that says what is wrong."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path.startswith("/"):
                raise ValueError(f"{text!r}: a unix socket needs an absolute path: unix:/run/redis.sock")
            if len(path.encode()) > 107:  # sun_path in linux/un.h, less its NUL
                raise ValueError(f"{text!r}: a unix socket path has at most 107 bytes")
            return cls(path=path)
        if "://" in text:
            raise ValueError(f"{text!r}: write the address alone, without {text[: text.index('://') + 3]}")
        host, colon, port = text.rpartition(":")
        if not colon or not host:
            raise ValueError(f"{text!r}: expected host:port, [ipv6]:port or unix:/path")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: put an IPv6 address in brackets, as in [::1]:6379")
        if not host or any(c.isspace() for c in host):
            raise ValueError(f"{text!r}: the host is missing or has spaces")
        if "$" in host or "{" in host:
            raise ValueError(f"{text!r}: variables are not replaced here: write the address itself")
        if host.isdigit():  # inet_aton takes 7000 for 0.0.27.88
            raise ValueError(f"{text!r}: a number is no host")
        if set(host) & NOT_IN_HOSTS:
            raise ValueError(f"{text!r}: {host!r} is no name of a host")
        if not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"{text!r}: the port must be a number from 0 to 65535")
        return cls(host=host, port=int(port))

    @property
    def is_unix(self) -> bool:
        return bool(self.path)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
