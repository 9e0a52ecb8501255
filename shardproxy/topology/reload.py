"""What to do to come from the clusters that are served to those a config asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shardproxy.config import RedisCluster
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.model import Address, Engine

Clusters = Mapping[str, ClusterSettings]


class ServeError(Exception):
    """A cluster that the data plane cannot serve; what was served before still is."""

    def __init__(self, cluster: str, cause: Exception) -> None:
        super().__init__(f"cluster {cluster}: {cause}")
        self.cluster = cluster
        self.cause = cause


class KeysHiddenError(Exception):
    """A config by which keys would not be found any more; says what to write instead."""


class NodesUnfitError(Exception):
    """A config with nodes that cannot be served; says which, and what to do."""


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """What to do, in this order; a cluster in neither list stays as it is."""

    withdraw_first: tuple[str, ...]  # their addresses are wanted by others
    serve: tuple[str, ...]  # new or changed
    withdraw_last: tuple[str, ...]


def reload_plan(old: Clusters, new: Clusters) -> ReloadPlan:
    """Compare the clusters that are served with those that are asked for."""
    wanted = {address for settings in new.values() for address in _addresses(settings)}
    gone = [name for name in old if name not in new or nature_of(new[name]) != nature_of(old[name])]
    in_the_way = [name for name in gone if name in new or wanted & _addresses(old[name])]
    return ReloadPlan(
        withdraw_first=tuple(in_the_way),
        serve=tuple(name for name in new if name in in_the_way or new[name] != old.get(name)),
        withdraw_last=tuple(name for name in gone if name not in in_the_way),
    )


def nature_of(settings: ClusterSettings) -> tuple[Engine, bool]:
    """What a cluster cannot change while it is served: its engine, and by whose numbers it is numbered."""
    config = settings.config
    return config.kind, isinstance(config, RedisCluster) and config.is_delegated


def _addresses(settings: ClusterSettings) -> set[Address]:
    return {address for _, endpoint, _ in settings.config.listened for address in endpoint.addresses}
