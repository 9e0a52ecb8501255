"""What no caller may be, whatever its rights: a web page. Pure: knows nothing of pages.

Who is trusted for where it is, or for a certificate that a browser shows by itself, may be a page in that
browser: one that sends us a form or a request, and one whose own name is made to lead here (DNS rebinding).
The second kind shows in Host, which is then that name; an IP address there cannot be forged by a page.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping

LOCAL_NAMES = frozenset({"localhost"})
OTHER_PAGE = (
    "other web pages are not answered (behind a reverse proxy: have it pass Host on, and write that"
    " name into admin_names)"
)
OWN_SITES = frozenset({"none", "same-origin"})  # none: typed or clicked by the user


def why_not_asked(peer: str, headers: Mapping[str, str], names: Collection[str]) -> str | None:
    """Why a request is refused, or None. `peer`: the client's IP, empty on a unix socket."""
    host = headers.get("host", "")
    if not peer or not host:  # no browser connects to a unix socket, or leaves out Host
        return None
    if any(mark in host for mark in "/?#@\\ "):
        return "Host is no host"
    name = host_name(host)
    if _is_ip(name) or name in LOCAL_NAMES or name in {known.lower() for known in names}:
        return None
    return f"{name!r} is not a name of this proxy: ask by IP address, or add it to admin_names in the config"


def why_not_answered(headers: Mapping[str, str]) -> str | None:
    """Why /api is refused whoever asks, or None: a web page sends the request, and it is not ours.

    Also what only reads: it may make nodes work, and a page need not see the answer for that.
    Browsers say which by Sec-Fetch-Site, where they trust the connection, and by Origin, which is that of our
    page where it names the host that is asked. No page can change either.
    """
    if (site := headers.get("sec-fetch-site")) is not None:
        return None if site in OWN_SITES else OTHER_PAGE
    origin = headers.get("origin")
    if origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower() != "":
        return None
    return OTHER_PAGE


def host_name(host: str) -> str:
    """The name in a Host header: no port, no brackets, lower case, no dot at its end."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().removesuffix(".")


def is_loopback(peer: str) -> bool:
    """Whether a client's IP is of this machine, IPv4 within IPv6 included."""
    address = ipaddress.ip_address(peer.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # Python before 3.13 does not look inside
    return address.is_loopback


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
