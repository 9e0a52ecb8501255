"""Addresses in the file: host:port, [ipv6]:port or unix:/path."""

from __future__ import annotations

from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from shardproxy.config.base import refused
from shardproxy.model import Address

DEFAULT_ADMIN = Address("127.0.0.1", 9700)
WILDCARDS = frozenset({"0.0.0.0", "::", "*"})

_HINT = 'write it like 127.0.0.1:6379, "[::1]:6379" or unix:/run/redis.sock'


def parse_address(value: object) -> Address:
    """Read any address."""
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise refused("is not an address", _HINT)
    try:
        return Address.parse(value)
    except ValueError as e:
        raise refused(str(e)) from None


def parse_listener(value: object) -> Address:
    """Read an address to listen on; port 0 lets the system choose."""
    address = parse_address(value)
    if address.host == "*":
        raise refused("cannot listen on *", f'write "0.0.0.0:{address.port}" or "[::]:{address.port}"')
    return address


def parse_target(value: object) -> Address:
    """Read an address to connect to."""
    address = parse_address(value)
    if not address.is_unix and address.port == 0:
        raise refused("port 0 cannot be connected to", "give the port the node listens on")
    if address.host in WILDCARDS:
        raise refused(f"{address.host} is no address to connect to", "give the node's own name or address")
    return address


def parse_advertised(value: object) -> Address:
    """Read the address clients are told to come back to."""
    address = parse_target(value)
    if address.is_unix:
        raise refused("clients on other machines cannot use a unix socket", "give a host and port")
    return address


def _schema(*examples: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", "pattern": r"^(unix:/.+|.+:\d{1,5})$", "examples": list(examples)}
    )


_TO_TEXT = PlainSerializer(str, when_used="json")

Listener = Annotated[
    Address,
    PlainValidator(parse_listener),
    _TO_TEXT,
    _schema("127.0.0.1:7000", "[::1]:7000", "unix:/run/cache.sock"),
]
Target = Annotated[
    Address,
    PlainValidator(parse_target),
    _TO_TEXT,
    _schema("10.0.0.5:6379", "[fd00::5]:6379", "unix:/run/redis.sock"),
]
Advertised = Annotated[Address, PlainValidator(parse_advertised), _TO_TEXT, _schema("cache.example.com:7000")]
