"""From what is configured to who verifies whose logins. Files are read here; what has not changed stays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shardproxy.access.http import HttpVerifier, Post
from shardproxy.access.iam import IamVerifier
from shardproxy.access.iam_keys import KeyStore, keys_load
from shardproxy.access.statistics import LoginStatistics
from shardproxy.access.verifiers import Kind
from shardproxy.access.verifiers import Verifier as AnyVerifier
from shardproxy.config import Config, Iam, Verifier
from shardproxy.config.files import FilesRead


@dataclass(frozen=True, slots=True)
class LoginPlan:
    """What a cluster's config says of logins that are verified, its key store read."""

    cluster: str
    iam: Iam | None = None
    keys: KeyStore | None = None
    verifier: Verifier | None = None


def plans_read(config: Config, files: FilesRead) -> tuple[LoginPlan, ...]:
    """Read what every cluster says, and its key store; raise ConfigError. `files` notes what is read."""
    plans = []
    for name, cluster in config.clusters.items():
        if cluster.access is not None:
            iam, verifier = cluster.access.iam, cluster.access.verifier
            keys = keys_load(files.note(iam.keys), files.note) if iam is not None else None
            plans.append(LoginPlan(name, iam, keys, verifier))
    return tuple(plans)


class Builder:
    """Makes verifiers; remembers what they were made of."""

    def __init__(self, post: Post, statistics: LoginStatistics) -> None:
        self._post = post
        self._statistics = statistics
        self._made: dict[tuple[str, Kind], AnyVerifier] = {}
        self._of: dict[tuple[str, Kind], object] = {}

    def build(self, plans: Iterable[LoginPlan]) -> dict[str, dict[Kind, AnyVerifier]]:
        """The verifiers of every cluster; one whose settings are as before is the one of before."""
        made: dict[tuple[str, Kind], AnyVerifier] = {}
        of: dict[tuple[str, Kind], object] = {}
        by_cluster: dict[str, dict[Kind, AnyVerifier]] = {}
        for cluster in plans:
            for kind, settings in _settings(cluster).items():
                key = (cluster.cluster, kind)
                of[key] = settings
                is_same = self._of.get(key) == settings
                made[key] = self._made[key] if is_same else self._make(cluster, kind)
                by_cluster.setdefault(cluster.cluster, {})[kind] = made[key]
        self._made, self._of = made, of
        return by_cluster

    def _make(self, plan: LoginPlan, kind: Kind) -> AnyVerifier:
        if kind is Kind.IAM:
            assert plan.iam is not None
            assert plan.keys is not None
            cluster = plan.iam.cluster or plan.cluster.lower()
            return IamVerifier(plan.keys, cluster, plan.iam.region, plan.iam.service, plan.iam.serverless)
        assert plan.verifier is not None
        of = plan.verifier
        return HttpVerifier(of.url, of.timeout, of.cache, self._post, self._statistics)


def _settings(plan: LoginPlan) -> dict[Kind, object]:
    """What a verifier of each kind is made of."""
    settings: dict[Kind, object] = {}
    if plan.iam is not None:
        settings[Kind.IAM] = (plan.iam, plan.keys)
    if plan.verifier is not None:
        settings[Kind.EXTERNAL] = plan.verifier
    return settings
