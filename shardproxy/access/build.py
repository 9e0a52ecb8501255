"""From what is configured to who verifies whose logins. Files are read here; what has not changed stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from shardproxy.access.http import HttpVerifier, Post
from shardproxy.access.iam import IamVerifier
from shardproxy.access.iam_keys import KeyStore, keys_load
from shardproxy.access.statistics import LoginStatistics
from shardproxy.access.verifiers import Kind
from shardproxy.access.verifiers import Verifier as AnyVerifier
from shardproxy.config import Iam, Verifier


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a cluster's config says of logins that are verified, its key store read."""

    cluster: str
    iam: Iam | None = None
    keys: KeyStore | None = None
    verifier: Verifier | None = None


def wanted_read(
    cluster: str, iam: Iam | None, verifier: Verifier | None, read: Callable[[str | Path], Path] = Path
) -> Wanted:
    """Read the files of a cluster; raise ConfigError.

    `read` is told of each before it is read, as the config names it, and says where it is.
    """
    keys = keys_load(read(iam.keys), read) if iam is not None else None
    return Wanted(cluster, iam, keys, verifier)


class Builder:
    """Makes verifiers; remembers what they were made of."""

    def __init__(self, post: Post, statistics: LoginStatistics) -> None:
        self._post = post
        self._statistics = statistics
        self._made: dict[tuple[str, Kind], AnyVerifier] = {}
        self._of: dict[tuple[str, Kind], object] = {}

    def build(self, wanted: Iterable[Wanted]) -> dict[str, dict[Kind, AnyVerifier]]:
        """The verifiers of every cluster; one whose settings are as before is the one of before."""
        made: dict[tuple[str, Kind], AnyVerifier] = {}
        of: dict[tuple[str, Kind], object] = {}
        by_cluster: dict[str, dict[Kind, AnyVerifier]] = {}
        for cluster in wanted:
            for kind, settings in _settings(cluster).items():
                key = (cluster.cluster, kind)
                of[key] = settings
                is_same = self._of.get(key) == settings
                made[key] = self._made[key] if is_same else self._make(cluster, kind)
                by_cluster.setdefault(cluster.cluster, {})[kind] = made[key]
        self._made, self._of = made, of
        return by_cluster

    def _make(self, wanted: Wanted, kind: Kind) -> AnyVerifier:
        if kind is Kind.IAM:
            assert wanted.iam is not None
            assert wanted.keys is not None
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
