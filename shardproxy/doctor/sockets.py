"""Whether the addresses of a config can be listened on, by trying. A port that is taken is not touched."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from shardproxy.doctor.finding import Finding, bad, ok
from shardproxy.model import Address

ABOUT = "config"


def listening_findings(addresses: Iterable[tuple[str, Address]], *, is_served: bool) -> Iterator[Finding]:
    """Look at each address, under the name of what listens there.

    `is_served`: a proxy runs with this admin address, so what is taken is taken by that.
    """
    for name, address in addresses:
        if (error := _why_not(address)) is None:
            yield ok(ABOUT, "listen", f"{name} {address} is free")
        elif error.errno == errno.EADDRINUSE and is_served:
            yield ok(ABOUT, "listen", f"{name} {address} is served by the proxy that runs")
        else:
            yield bad(
                ABOUT,
                "listen",
                f"{name} {address}: {os.strerror(error.errno or 0).lower()}",
                "the proxy does not start",
                _mend(address, error.errno),
            )


def _why_not(address: Address) -> OSError | None:
    try:
        if address.is_unix:
            _directory_written(Path(address.path).parent)
            return None
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((address.host, address.port))
            tried.listen(1)  # two may be bound, one can listen
    except OSError as error:
        return error
    return None


def _directory_written(directory: Path) -> None:
    if not directory.is_dir():
        raise OSError(errno.ENOENT, str(directory))
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, str(directory))


def _mend(address: Address, number: int | None) -> str:
    if address.is_unix:
        directory = Path(address.path).parent
        return f"install -d -o shardproxy -g shardproxy {directory}"
    match number:
        case errno.EADDRINUSE:
            return f"ss -ltnp 'sport = :{address.port}'  # says who has it"
        case errno.EACCES:
            return f"sysctl -w net.ipv4.ip_unprivileged_port_start={address.port}"
        case errno.EADDRNOTAVAIL:
            return "ip -brief address  # lists those of this machine"
    return f"ss -ltnp 'sport = :{address.port}'"
