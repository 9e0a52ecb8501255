"""Security groups: from which addresses clients may connect, and through which balancers.

A group's rule names addresses, or by `group:name` all that another group's rules name. What is written is
resolved to plain networks here; who asks about an address (the data plane, the admin API) knows no names.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from shardproxy.config.base import Section, refused
from shardproxy.model import EndpointKind

MAX_GROUPS = 100
MAX_SOURCES = 1000  # of all groups together, as the data plane takes them
PREFIX = "group:"
GROUP_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_MAPPED = IPv6Network("::ffff:0:0/96")  # IPv4 as a socket for both shows it

_HINT = "write 10.0.0.0/8, 192.0.2.7, fd00::/8 or group:name"

Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class GroupReference:
    """All addresses that the rules of a group name, in the place of addresses."""

    name: str

    def __str__(self) -> str:
        return PREFIX + self.name


Source: TypeAlias = Network | GroupReference


def parse_source(value: object) -> Source:
    """Read where a connection may come from."""
    if isinstance(value, (IPv4Network, IPv6Network, GroupReference)):
        return value
    if not isinstance(value, str):
        raise refused("must be text", _HINT)
    if value.startswith(PREFIX):
        name = value.removeprefix(PREFIX)
        if not re.fullmatch(GROUP_NAME, name):
            raise refused(f"{name!r} is not a name for a group", "use letters, digits, dots, - and _")
        return GroupReference(name)
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        raise _no_network(value) from None
    if isinstance(network, IPv6Network) and network.network_address.scope_id is not None:
        raise refused(f"{value} names an interface of this machine", "leave out % and what follows")
    return _unmapped(network)


def _no_network(value: str) -> PydanticCustomError:
    """Say why a text is no network."""
    try:
        wide = ipaddress.ip_network(value, strict=False)
    except ValueError:
        return refused(f"{value!r} is not an address or a network", _HINT)
    return refused(f"{value} has bits behind its prefix", f"write {wide}, or the address without /")


def _unmapped(network: Network) -> Network:
    """IPv4 within IPv6 is IPv4."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        low = int(network.network_address) & 0xFFFF_FFFF
        return IPv4Network((low, network.prefixlen - 96))
    return network


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_OneSource = Annotated[
    Source,
    PlainValidator(parse_source),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8", "fd00::/8", "group:pods"]}),
]
Sources = Annotated[
    tuple[_OneSource, ...],
    Field(min_length=1, max_length=MAX_SOURCES),
    BeforeValidator(_as_list, json_schema_input_type=_OneSource | list[_OneSource]),
]
SecurityGroupName = Annotated[str, Field(pattern=f"^{GROUP_NAME}$", examples=["office"])]
GroupNames = Annotated[
    tuple[SecurityGroupName, ...],
    Field(min_length=1, max_length=MAX_GROUPS),
    BeforeValidator(_as_list, json_schema_input_type=SecurityGroupName | list[SecurityGroupName]),
]


class InboundRule(Section):
    """From where one may connect, and to which endpoints."""

    sources: Sources = Field(alias="from")
    """Addresses, networks, or `group:name`: all that the rules of that group name."""
    endpoints: (
        Annotated[
            tuple[EndpointKind, ...],
            Field(min_length=1),
            BeforeValidator(_as_list, json_schema_input_type=EndpointKind | list[EndpointKind]),
        ]
        | None
    ) = None
    """To which endpoints: `configuration`, `primary`, `reader`. Default: to all, and to the admin API."""


class SecurityGroup(Section):
    """From where one may connect, under a name. Whatever no rule admits is refused."""

    name: SecurityGroupName
    """What `inbound` of a cluster's `access` and of `admin_access` calls it."""
    inbound: Annotated[tuple[InboundRule, ...], Field(max_length=MAX_SOURCES)]
    """Its rules. One that admits is enough; none at all admit nobody."""


class ProxyProtocol(Section):
    """An endpoint behind a load balancer that says by the PROXY protocol, v1 or v2, where its clients are."""

    sources: Sources = Field(alias="from")
    """The balancers' addresses: whoever connects from there has to say it, and nobody else can connect."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """Networks from which one may connect to these endpoints; None = to all, and to the admin API."""

    networks: tuple[Network, ...]
    endpoints: frozenset[EndpointKind] | None = None


Groups: TypeAlias = Iterable[SecurityGroup]


def admitted(groups: Groups, names: Iterable[str]) -> tuple[Admitted, ...]:
    """What groups of these names admit together, one value for each set of endpoints; raise KeyError."""
    by_name = {group.name: group for group in groups}
    found: dict[frozenset[EndpointKind] | None, list[Source]] = {}
    for name in names:
        for rule in by_name[name].inbound:
            endpoints = None if rule.endpoints is None else frozenset(rule.endpoints)
            found.setdefault(endpoints, []).extend(rule.sources)
    ordered = sorted(found.items(), key=lambda of: sorted(kind.value for kind in of[0] or ()))
    return tuple(Admitted(_networks(by_name, sources), endpoints) for endpoints, sources in ordered)


def networks(groups: Groups, sources: Iterable[Source]) -> tuple[Network, ...]:
    """The addresses that sources name, groups resolved, each network once; raise KeyError."""
    return _networks({group.name: group for group in groups}, sources)


def _networks(groups: Mapping[str, SecurityGroup], sources: Iterable[Source]) -> tuple[Network, ...]:
    seen: set[str] = set()
    found: list[Network] = []
    waiting = list(sources)
    while waiting:
        source = waiting.pop()
        if not isinstance(source, GroupReference):
            found.append(source)
        elif source.name not in seen:
            seen.add(source.name)
            waiting += [inner for rule in groups[source.name].inbound for inner in rule.sources]
    old = ipaddress.collapse_addresses(one for one in found if isinstance(one, IPv4Network))
    new = ipaddress.collapse_addresses(one for one in found if isinstance(one, IPv6Network))
    return (*old, *new)


def read_sources(value: Any) -> list[tuple[int | None, Source]]:
    """What of a plain value are sources, each with its place in a list; passes over what is broken."""
    listed: list[tuple[int | None, object]] = (
        list(enumerate(value)) if isinstance(value, (list, tuple)) else [(None, value)]
    )
    found: list[tuple[int | None, Source]] = []
    for place, one in listed:
        try:
            found.append((place, parse_source(one)))
        except PydanticCustomError:
            continue  # it is reported where it is read
    return found
