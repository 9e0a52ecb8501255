"""From what is configured to who verifies whose logins. Files are read here; what has not changed stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shardproxy.access.http import HttpVerifier, Post
from shardproxy.access.iam import IamVerifier
from shardproxy.access.iam_keys import KeyStore, keys_load
from shardproxy.access.statistics import LoginStatistics
from shardproxy.access.verifiers import ClusterVerifiers, Kind
from shardproxy.access.verifiers import Verifier as AnyVerifier
from shardproxy.config import ConfigError, Iam, Verifier


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a cluster's config says of logins that are verified, its key store read."""

    cluster: str
    kinds: Mapping[str, Kind]  # by user
    iam: Iam | None = None
    keys: KeyStore = field(default_factory=KeyStore)
    verifier: Verifier | None = None


def wanted_read(
    cluster: str, kinds: Mapping[str, Kind], iam: Iam | None, verifier: Verifier | None, directory: Path
) -> Wanted:
    """Read the files of a cluster, relative ones in that directory; raise ConfigError."""
    keys = keys_load(directory / iam.keys) if iam is not None else KeyStore()
    return Wanted(cluster, kinds, iam, keys, verifier)


def why_nobody_verifies(wanted: Wanted) -> str | None:
    """Whose logins would always be refused, or None."""
    has = {Kind.IAM: wanted.iam is not None, Kind.EXTERNAL: wanted.verifier is not None}
    for user, kind in wanted.kinds.items():
        if not has[kind]:
            key = "access.iam" if kind is Kind.IAM else "access.verifier"
            return f"user {user} has {kind.value}: true, but clusters.{wanted.cluster}.{key} is missing"
    return None


class Builder:
    """Makes verifiers; remembers what they were made of."""

    def __init__(self, post: Post, statistics: LoginStatistics) -> None:
        self._post = post
        self._statistics = statistics
        self._made: dict[tuple[str, Kind], AnyVerifier] = {}
        self._of: dict[tuple[str, Kind], object] = {}

    def build(self, wanted: Mapping[str, Wanted]) -> dict[str, ClusterVerifiers]:
        """The verifiers of every cluster; one whose settings are as before is the one of before."""
        made: dict[tuple[str, Kind], AnyVerifier] = {}
        of: dict[tuple[str, Kind], object] = {}
        for name, cluster in wanted.items():
            for kind, settings in _settings(cluster).items():
                key = (name, kind)
                of[key] = settings
                is_same = self._of.get(key) == settings
                made[key] = self._made[key] if is_same else self._make(cluster, kind)
        self._made, self._of = made, of
        return {
            name: ClusterVerifiers(
                cluster.kinds, {kind: made[name, kind] for kind in Kind if (name, kind) in made}
            )
            for name, cluster in wanted.items()
        }

    def _make(self, wanted: Wanted, kind: Kind) -> AnyVerifier:
        if kind is Kind.IAM:
            assert wanted.iam is not None
            cluster = wanted.iam.cluster or wanted.cluster.lower()
            return IamVerifier(wanted.keys, cluster, wanted.iam.region)
        assert wanted.verifier is not None
        of = wanted.verifier
        return HttpVerifier(of.url, of.timeout, of.cache, self._post, self._statistics)


def _settings(wanted: Wanted) -> dict[Kind, object]:
    """What a verifier of each kind is made of."""
    settings: dict[Kind, object] = {}
    if wanted.iam is not None:
        settings[Kind.IAM] = (wanted.iam, wanted.keys)
    if wanted.verifier is not None:
        settings[Kind.EXTERNAL] = wanted.verifier
    return settings


__all__ = ["Builder", "ConfigError", "Wanted", "wanted_read", "why_nobody_verifies"]
