"""Nodes that are found rather than listed: pods behind a headless Service, or all addresses of a DNS name."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.config.durations import PositiveDuration
from shardproxy.config.store import ObjectName

Port = Annotated[int, Field(ge=1, le=65535)]
DnsName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*)$")]


class ServiceNodes(Section):
    """The pods behind a headless Service, as its EndpointSlices list them."""

    service: ObjectName
    """The Service. Pods of a StatefulSet are known by their DNS names, wherever they come back."""
    port: Port
    """The port of the engine in each pod."""
    namespace: ObjectName | None = None
    """The Service's namespace. Default: the one of `store`, or the pod's own."""


class NamedNodes(Section):
    """All addresses that a DNS name leads to."""

    name: DnsName
    """The name, as of a headless Service."""
    port: Port
    """The port of the engine at each address."""


class Discovery(Section):
    """Where nodes are found: exactly one of `kubernetes` and `dns`."""

    kubernetes: ServiceNodes | None = None
    """The pods behind a headless Service of Kubernetes."""
    dns: NamedNodes | None = None
    """All addresses of a DNS name: a node that comes back with another address is another node."""
    keep: PositiveDuration = 60.0
    """How long a node stays that is not found any more: a pod that is replaced is back by then."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.kubernetes is None) == (self.dns is None):
            raise refused(
                "give exactly one of kubernetes and dns", "write {kubernetes: {service: redis-0, port: 6379}}"
            )
        return self

    @property
    def what(self) -> str:
        """What is looked up, for people."""
        if self.kubernetes is not None:
            return f"service {self.kubernetes.service}"
        return f"name {self.dns.name}" if self.dns is not None else ""


def with_placeholder(values: Any) -> Any:
    """Until nodes are found, the name they are found by stands for them: it leads to one of them."""
    if not isinstance(values, dict) or not isinstance(values.get("discover"), dict):
        return values
    if "nodes" in values:
        raise refused("nodes and discover exclude each other", "list the nodes, or have them found")
    found = values["discover"].get("kubernetes") or values["discover"].get("dns")
    found = found if isinstance(found, dict) else {}
    host, port = found.get("service") or found.get("name"), found.get("port")
    return {**values, "nodes": [f"{host}:{port}"]} if host and port else values
