"""A config as text that may be shown to anybody."""

from __future__ import annotations

import io
import re
from typing import Any

from ruamel.yaml import YAML

from shardproxy.config.checks import SECRETS
from shardproxy.config.clusters import RedisCluster
from shardproxy.config.root import Config

MASK = "********"
# Below these stand secrets, or the places of secrets; values of headers are told to be none, but may be.
HIDDEN = SECRETS | {"headers"}
PLACES = frozenset({"file", "env", "name", "rights"})
HASHES = frozenset({"sha256"})  # a weak password is found by its hash
_IN_URL = re.compile(r"(?<=://)[^/@?#\s]*:[^/@?#\s]*(?=@)")
_IN_QUERY = re.compile(r"(?<=[?&])([^=&#\s]*(?:password|secret|token|key)[^=&#\s]*)=[^&#\s]*", re.IGNORECASE)
NOT_OURS = frozenset({"enabled", "fencing"})  # of failover, where something else decides about it


def config_text(config: Config, *, with_defaults: bool = False) -> str:
    """Write it as YAML, as `config_values`."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # in the order of the file
    out = io.StringIO()
    yaml.dump(config_values(config, with_defaults=with_defaults), out)
    return out.getvalue()


def config_values(config: Config, *, with_defaults: bool = False) -> dict[str, Any]:
    """Give it as plain values. Secrets are references to begin with; hashes of passwords are masked."""
    values = config.model_dump(mode="json", by_alias=True, exclude_unset=not with_defaults, exclude_none=True)
    for name, cluster in config.clusters.items():
        if isinstance(cluster, RedisCluster) and cluster.is_delegated:
            failover = values["clusters"][name].get("failover", {})
            for key in NOT_OURS - cluster.failover.model_fields_set:
                failover.pop(key, None)
    shown: dict[str, Any] = masked(_filled(values) if with_defaults else values)
    return shown


def _filled(value: Any) -> Any:
    """Without what is empty: it is as if it were not there."""
    if isinstance(value, dict):
        return {key: _filled(one) for key, one in value.items() if one not in ([], {})}
    return [_filled(one) for one in value] if isinstance(value, list) else value


def masked(value: Any, *, is_secret: bool = False) -> Any:
    """The same without what is a secret, or stands where one might be written."""
    if isinstance(value, dict):
        return {key: _masked_below(key, one, is_secret) for key, one in value.items()}
    if isinstance(value, list):
        return [masked(one, is_secret=is_secret) for one in value]
    if is_secret and value is not None:
        return MASK
    return _IN_QUERY.sub(rf"\1={MASK}", _IN_URL.sub(MASK, value)) if isinstance(value, str) else value


def _masked_below(key: str, value: Any, is_secret: bool) -> Any:
    if key in HASHES:
        return MASK
    if is_secret and key in PLACES and isinstance(value, str):
        return value
    return masked(value, is_secret=is_secret or key in HIDDEN)
