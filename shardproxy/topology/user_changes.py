"""What ACL SETUSER and ACL DELUSER made of users that are configured otherwise. Pure.

A user has three aspects: whether it may log in, how, and what it may do. A change is of some of them, and
holds in each until the config says something else of that aspect than it did then. What is no matter of a
change is as the config says: whoever was switched off or deleted stays so while passwords and rules change,
and a change of rules keeps no password that is rotated.

    aspect   what the config says of it         what a change sets
    ───────  ─────────────────────────────────  ──────────────────────────
    enabled  enabled                            whether it may, or is gone
    login    hashes, nopass, iam, external      the same, and the session
    rules    the preset's name, or the rules    rules
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeAlias

from shardproxy.config import Config, RedisCluster
from shardproxy.config.users_write import UserEdit
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.dataplane.users import ANYBODY, ProxyUser
from shardproxy.topology.reload import Clusters

ByName: TypeAlias = Mapping[str, ProxyUser]
Edit: TypeAlias = Callable[[ByName], Mapping[str, ProxyUser | None]]  # None: there is no such user any more

ENABLED = "enabled"

# What an operator writes, and nothing that a release or another key of the config decides.
SAID: Mapping[str, Callable[[ProxyUser], Any]] = {
    ENABLED: lambda user: user.is_enabled,
    "login": lambda user: [user.is_nopass, list(user.passwords), user.verified_by],
    "rules": lambda user: ["preset", user.preset] if user.preset is not None else ["rules", user.rules],
}
SET: Mapping[str, tuple[str, ...]] = {
    ENABLED: ("is_enabled",),
    "login": ("is_nopass", "passwords", "verified_by", "session"),
    "rules": ("rules", "preset"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one user."""

    user: ProxyUser | None  # None: it was deleted
    base: Mapping[str, str] | None  # by aspect it is of, a digest of what the config said; None: no such user


Changes: TypeAlias = Mapping[str, Change]  # by the user's name


def change_of(configured: ProxyUser | None, user: ProxyUser | None) -> Change:
    """What makes that user of the one that is configured."""
    if configured is None:
        return Change(user, None)
    aspects = SAID if user is not None else [ENABLED]
    digests = {aspect: _digest(aspect, configured) for aspect in aspects}
    return Change(user, {a: d for a, d in digests.items() if user is None or _digest(a, user) != d})


def _digest(aspect: str, user: ProxyUser) -> str:
    return hashlib.sha256(json.dumps(SAID[aspect](user)).encode()).hexdigest()


def users_of(settings: ClusterSettings) -> tuple[ProxyUser, ...]:
    """The users of a cluster; where nobody has to log in, everybody is one."""
    return (ANYBODY,) if settings.users is None else settings.users


def changes_standing(configured: ByName, changes: Changes) -> dict[str, Change]:
    """Those that make a difference, in the aspects that the config says nothing newer about."""
    standing = {name: _standing(change, configured.get(name)) for name, change in changes.items()}
    return {name: change for name, change in standing.items() if change is not None}


def _standing(change: Change, configured: ProxyUser | None) -> Change | None:
    if change.base is None or configured is None:
        is_made = change.base is None and configured is None and change.user is not None
        return change if is_made else None
    now = change_of(configured, change.user).base or {}
    base = {aspect: said for aspect, said in change.base.items() if now.get(aspect) == said}
    return Change(change.user, base) if base else None


def changes_void(configured: ByName, changes: Changes) -> list[str]:
    """Those that hold no longer, though they did not come true: the user, or `user (aspect)`."""
    void = []
    for name, change in sorted(changes.items()):
        user = configured.get(name)
        if change.base is None or user is None:
            if (user is None) != (change.base is None) and change.user != user:
                void.append(name)
            continue
        now = change_of(user, change.user).base or {}
        void += [f"{name} ({a})" for a, said in change.base.items() if a in now and now[a] != said]
    return void


def users_changed(configured: ByName, changes: Changes) -> dict[str, ProxyUser]:
    """The users with these changes."""
    users = dict(configured)
    for name, change in changes.items():
        if change.user is None:
            users.pop(name, None)
        elif change.base is None:
            users[name] = change.user
        elif name in users:
            now = change.user
            users[name] = replace(
                users[name], **{key: getattr(now, key) for a in change.base for key in SET[a]}
            )
    return users


def changes_encode(changes: Changes) -> Any:
    """As JSON has it."""
    return {name: {"user": _user_encode(of.user), "base": of.base} for name, of in changes.items()}


def changes_decode(values: Any) -> dict[str, Change]:
    """Raise ValueError, KeyError, TypeError or AttributeError for what is none."""
    return {str(name): _change(value) for name, value in dict(values or {}).items()}


def _user_encode(user: ProxyUser | None) -> dict[str, Any] | None:
    """What is as with most users is left out: a note has a limit."""
    if user is None:
        return None
    values = asdict(user)
    return {key: value for key, value in values.items() if key not in _USUAL or value != _USUAL[key]}


_USUAL: Mapping[str, Any] = {
    "is_enabled": True,
    "is_nopass": False,
    "passwords": (),
    "preset": None,
    "verified_by": None,
    "session": 0.0,
}


def _change(value: Any) -> Change:
    """What another version kept besides is left out."""
    user, base = value["user"], value["base"]
    if user is not None:
        known = {key: user[key] for key in _FIELDS & user.keys()}
        user = ProxyUser(**{**known, "passwords": tuple(user.get("passwords", ()))})
    if base is not None:
        base = {aspect: str(digest) for aspect, digest in dict(base).items() if aspect in SAID}
    return Change(user, base)


_FIELDS = frozenset(field.name for field in fields(ProxyUser))


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
    if before is None or (before.rules, before.preset) != (now.rules, now.preset):
        edit |= {"preset": None, "rules": now.rules}
    return edit
