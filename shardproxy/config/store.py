"""Where proxies that serve the same clusters agree: etcd, or Kubernetes; without it this one is alone."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.config.durations import PositiveDuration
from shardproxy.config.secrets import Secret, not_literal
from shardproxy.config.tls import PemFile, ServerName, refuse_half

MIN_TTL = 2.0  # seconds; etcd grants nothing shorter

Endpoint = Annotated[
    str,
    Field(
        min_length=8,
        max_length=1000,
        pattern=r"^https?://[A-Za-z0-9.\-_\[\]:]+$",
        examples=["http://127.0.0.1:2379"],
    ),
]
Prefix = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^/?[A-Za-z0-9._\-/]+$")]
ObjectName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class Membership(Enum):
    """What this proxy is among those that share the store."""

    MEMBER = "member"
    FOLLOWER = "follower"


class StoreTls(Section):
    """How the store is spoken to in TLS. Files are found from where this file is."""

    ca: PemFile
    """A file of PEM: who signs the certificates of the store's servers."""
    certificate: PemFile | None = None
    """A file of PEM: the certificate that they are shown, where they want one."""
    key: PemFile | None = None
    """A file of PEM: its private key, without a passphrase."""
    server_name: ServerName | None = None
    """The name their certificates are for. Default: each one's own host."""

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        refuse_half(self.certificate, self.key)
        return self


class EtcdStore(Section):
    """An etcd cluster, version 3.4 or newer, spoken to through its JSON gateway."""

    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1, max_length=16)]
    """The URLs of its members: one that does not answer is left for the next."""
    prefix: Prefix = "/shardproxy"
    """What all keys begin with. Proxies with the same prefix decide together."""
    username: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Whom to log in as, where etcd has users."""
    password: Annotated[Secret, BeforeValidator(not_literal)] | None = None
    """The password: {file: ...} or {env: ...}."""
    tls: StoreTls | None = None
    """For endpoints with https://."""
    ttl: PositiveDuration = 3.0
    """How long a proxy that is not heard from counts as alive; another one decides after that."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.username is None) != (self.password is None):
            given, other = ("username", "password") if self.password is None else ("password", "username")
            raise refused(f"{given} needs its {other}", f"add {other}:")
        is_tls = {endpoint.startswith("https://") for endpoint in self.endpoints}
        if len(is_tls) > 1:
            raise refused("endpoints are of http and https", "write the same for all")
        if (self.tls is not None) != (is_tls == {True}):
            if self.tls is None:
                raise refused("https:// needs tls", "add tls: {ca: ...}: who signs etcd's certificates")
            raise refused("tls has no use with http://", "write https:// for the endpoints")
        if self.ttl < MIN_TTL:
            raise refused(f"ttl is less than etcd's least, {MIN_TTL:g} s", "write ttl: 3s")
        return self


class KubernetesStore(Section):
    """Objects of a Kubernetes namespace: one for each cluster, with its leader and its shards."""

    namespace: ObjectName | None = None
    """Default: the pod's own."""
    name: ObjectName = "shardproxy"
    """What the names of all objects begin with. Proxies with the same name decide together."""
    server: Endpoint | None = None
    """The URL of the API server. Default: as pods are told."""
    token: Annotated[Secret, BeforeValidator(not_literal)] | None = None
    """Default: the pod's own, read again when it changes."""
    tls: StoreTls | None = None
    """Default: the pod's own authority."""
    ttl: PositiveDuration = 6.0
    """How long a proxy that is not heard from counts as alive; another one decides after that."""


class Store(Section):
    """Where proxies that serve the same clusters agree on who is primary: exactly one of these."""

    etcd: EtcdStore | None = None
    """An etcd cluster."""
    kubernetes: KubernetesStore | None = None
    """Objects in Kubernetes."""
    membership: Membership = Membership.MEMBER
    """`member`: may decide, and a change waits for it; `follower`: only reads, for many sidecars: it costs
    the store no lease and no writes, and finds out by itself when it has not heard of a change."""

    @property
    def ttl(self) -> float:
        """How long a proxy that is not heard from counts as alive, in seconds."""
        place = self.etcd or self.kubernetes
        return place.ttl if place is not None else 0.0

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.etcd is None) == (self.kubernetes is None):
            raise refused("give exactly one of etcd and kubernetes", "write {etcd: {endpoints: [...]}}")
        return self
