"""A config as text that may be shown to anybody."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML

from shardproxy.config.clusters import RedisCluster
from shardproxy.config.root import Config

MASKED = frozenset({"sha256"})  # a weak password is found by its hash
MASK = "********"
NOT_OURS = frozenset({"enabled", "fencing"})  # of failover, where something else decides about it


def config_text(config: Config, *, with_defaults: bool = False) -> str:
    """Write it as YAML, hashes of passwords masked; other secrets are references to begin with."""
    values = config.model_dump(mode="json", by_alias=True, exclude_unset=not with_defaults, exclude_none=True)
    for name, cluster in config.clusters.items():
        if isinstance(cluster, RedisCluster) and cluster.is_delegated:
            failover = values["clusters"][name].get("failover", {})
            for key in NOT_OURS - cluster.failover.model_fields_set:
                failover.pop(key, None)
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # in the order of the file
    out = io.StringIO()
    yaml.dump(_masked(_filled(values) if with_defaults else values), out)
    return out.getvalue()


def _filled(value: Any) -> Any:
    """Without what is empty: it is as if it were not there."""
    if isinstance(value, dict):
        return {key: _filled(one) for key, one in value.items() if one not in ([], {})}
    return [_filled(one) for one in value] if isinstance(value, list) else value


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: MASK if key in MASKED else _masked(one) for key, one in value.items()}
    return [_masked(one) for one in value] if isinstance(value, list) else value
