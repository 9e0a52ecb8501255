"""What ACL SETUSER and ACL DELUSER made of users that are configured otherwise. Pure.

A change holds until the config says something else of that user than it did then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from shardproxy.config import Config, RedisCluster
from shardproxy.config.users_write import UserEdit
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.dataplane.users import ANYBODY, ProxyUser
from shardproxy.topology.reload import Clusters

ByName: TypeAlias = Mapping[str, ProxyUser]
Edit: TypeAlias = Callable[[ByName], Mapping[str, ProxyUser | None]]  # None: there is no such user any more


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one user."""

    user: ProxyUser | None  # None: it was deleted
    base: str | None  # a digest of what was configured then; None: nothing was


Changes: TypeAlias = Mapping[str, Change]  # by the user's name


def digest_of(user: ProxyUser | None) -> str | None:
    """Tells whether a user is configured as it was."""
    return None if user is None else hashlib.sha256(json.dumps(asdict(user)).encode()).hexdigest()


def users_of(settings: ClusterSettings) -> tuple[ProxyUser, ...]:
    """The users of a cluster; where nobody has to log in, everybody is one."""
    return (ANYBODY,) if settings.users is None else settings.users


def changes_standing(configured: ByName, changes: Changes) -> dict[str, Change]:
    """Those that make a difference, and that the config says nothing newer about."""
    return {
        name: change
        for name, change in changes.items()
        if change.base == digest_of(configured.get(name)) and change.user != configured.get(name)
    }


def users_changed(configured: ByName, changes: Changes) -> dict[str, ProxyUser]:
    """The users with these changes."""
    users = dict(configured)
    for name, change in changes.items():
        if change.user is None:
            users.pop(name, None)
        else:
            users[name] = change.user
    return users


def changes_encode(changes: Mapping[str, Changes]) -> Any:
    return {cluster: {name: asdict(change) for name, change in of.items()} for cluster, of in changes.items()}


def changes_decode(values: Any) -> dict[str, dict[str, Change]]:
    """Raise ValueError, KeyError or TypeError for what is none."""
    return {
        str(cluster): {str(name): _change(value) for name, value in dict(of).items()}
        for cluster, of in dict(values or {}).items()
    }


def _change(value: Any) -> Change:
    user = value["user"]
    if user is not None:
        user = ProxyUser(**{**user, "passwords": tuple(user["passwords"])})
    return Change(user, value["base"])


def by_name(settings: ClusterSettings) -> dict[str, ProxyUser]:
    return {user.name: user for user in users_of(settings)}


def laid_over(configured: Clusters, changes: Mapping[str, Changes]) -> dict[str, ClusterSettings]:
    found = dict(configured)
    for name, settings in configured.items():
        users = by_name(settings)
        standing = changes_standing(users, changes.get(name, {}))
        if standing and isinstance(settings.config, RedisCluster):
            found[name] = replace(settings, users=tuple(users_changed(users, standing).values()))
    return found


def names_in(config: Config, cluster: str) -> frozenset[str]:
    """The users of a cluster that stand in the config itself."""
    access = config.clusters[cluster].access
    if access is None:
        return frozenset()
    named = [user for group in config.groups if group.name in access.groups for user in group.users]
    return frozenset(user.name for user in (*access.users, *named))


def edit_of(before: ProxyUser | None, now: ProxyUser) -> UserEdit:
    """What to write of a user in the file; what has not changed stays as it stands there."""
    edit: dict[str, Any] = {}
    if before is None or before.is_enabled != now.is_enabled:
        edit["enabled"] = None if now.is_enabled else False
    if before is None or before.is_nopass != now.is_nopass:
        edit["nopass"] = True if now.is_nopass else None
    if before is None or before.passwords != now.passwords:
        edit["passwords"] = [{"sha256": password} for password in now.passwords] or None
    if before is None or before.verified_by != now.verified_by:
        edit |= {way: True if now.verified_by == way else None for way in ("iam", "external")}
    if before is None or before.rules != now.rules:
        edit |= {"preset": None, "rules": now.rules}
    return edit
