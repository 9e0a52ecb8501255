"""The addresses applications connect to."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from shardproxy.config.addresses import Advertised, Listener
from shardproxy.config.base import Section, refused
from shardproxy.config.inbound import ProxyProtocol
from shardproxy.model import Address, EndpointKind


def _as_list(value: object) -> object:
    return [value] if isinstance(value, (str, Address)) else value


def _as_endpoint(value: object) -> object:
    return {"address": value} if isinstance(value, (str, list, tuple)) else value


Listeners = Annotated[
    tuple[Listener, ...],
    Field(min_length=1, max_length=64),
    BeforeValidator(
        _as_list, json_schema_input_type=Listener | Annotated[list[Listener], Field(min_length=1)]
    ),
]


class Endpoint(Section):
    """An endpoint written out; one address or a list of them says the same in short."""

    addresses: Listeners = Field(alias="address")
    """One address, or a list of them: host:port, [ipv6]:port or unix:/path."""
    proxy_protocol: ProxyProtocol | None = None
    """The load balancers before this endpoint, which tell it by the PROXY protocol where its clients are."""


class Mode(Enum):
    """What a configuration endpoint tells clients about the cluster."""

    PROXY = "proxy"  # every slot is here
    DIRECT = "direct"  # the nodes themselves


class ConfigurationEndpoint(Endpoint):
    """The configuration endpoint written out; one address or a list of them says the same in short."""

    mode: Mode = Mode.PROXY
    """What clients that ask for the layout are told: `proxy` (all of it is here) or `direct` (the nodes)."""
    advertise: Advertised | None = None
    """host:port clients are told instead of the address they connected to, as behind a load balancer."""

    @model_validator(mode="after")
    def _advertise_is_used(self) -> Self:
        if self.advertise is not None and self.mode is Mode.DIRECT:
            raise refused("advertise has no meaning in mode direct: clients are told the nodes' addresses")
        return self


class DiscoveryEndpoint(Endpoint):
    """The configuration endpoint written out; one address or a list of them says the same in short."""

    mode: Mode = Mode.PROXY
    """What clients that ask for the layout are told: `proxy` (all of it is here) or `direct` (the nodes).
    Clients that go on asking the nodes for it, as ElastiCache's for Java does, need `proxy`: memcached does
    not know it."""
    advertise: Annotated[
        tuple[Advertised, ...],
        Field(max_length=64),
        BeforeValidator(
            _as_list, json_schema_input_type=Advertised | Annotated[list[Advertised], Field(min_length=1)]
        ),
    ] = ()
    """host:port that Auto Discovery tells instead of the address a client connected to: a load balancer's, or
    those of all proxies before these nodes."""

    @model_validator(mode="after")
    def _advertise_is_used(self) -> Self:
        if self.advertise and self.mode is Mode.DIRECT:
            raise refused("advertise has no meaning in mode direct: clients are told the nodes' addresses")
        return self


def _short(kind: type[Endpoint]) -> Any:
    listeners = Listener | Annotated[list[Listener], Field(min_length=1)]
    return BeforeValidator(_as_endpoint, json_schema_input_type=listeners | kind)


class RedisEndpoints(Section):
    """Where applications connect. At least one."""

    configuration: Annotated[ConfigurationEndpoint, _short(ConfigurationEndpoint)] | None = None
    """Everything: writes, reads, and the cluster's layout for cluster clients."""
    primary: Annotated[Endpoint, _short(Endpoint)] | None = None
    """Everything, always on the primaries."""
    reader: Annotated[Endpoint, _short(Endpoint)] | None = None
    """Reads only, from the replicas."""

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if not self.listed:
            raise refused("no endpoint is given", "add one, as in: configuration: 127.0.0.1:7000")
        return self

    @property
    def listed(self) -> tuple[tuple[EndpointKind, Endpoint], ...]:
        """The endpoints that are given, each with its kind."""
        every = (
            (EndpointKind.CONFIGURATION, self.configuration),
            (EndpointKind.PRIMARY, self.primary),
            (EndpointKind.READER, self.reader),
        )
        return tuple((kind, endpoint) for kind, endpoint in every if endpoint is not None)


class MemcachedEndpoints(Section):
    """Where applications connect."""

    configuration: Annotated[DiscoveryEndpoint, _short(DiscoveryEndpoint)]
    """Everything: keys, and Auto Discovery for clients that know it."""

    @property
    def listed(self) -> tuple[tuple[EndpointKind, Endpoint], ...]:
        """The endpoints that are given, each with its kind."""
        return ((EndpointKind.CONFIGURATION, self.configuration),)
