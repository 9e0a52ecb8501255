"""Users as the data plane is told of them: hashes read, rules in Redis' words.

Holds hashes of passwords: never log a spec.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, TypedDict

from shardproxy.config import Cluster, Problem, SecretError
from shardproxy.config.access import ALL_RIGHTS, DEFAULT_USER, MAX_PASSWORDS, MAX_RULES
from shardproxy.config.files import FilesRead
from shardproxy.config.source import Source
from shardproxy.config.users import PlacedUser, UsersError
from shardproxy.dataplane.rules import Described, RuleError, Rules, rules_of_package

Verification: TypeAlias = Literal["iam", "external"]


@dataclass(frozen=True, slots=True)
class ProxyUser:
    """A user of a cluster, as its clients log in."""

    name: str
    is_enabled: bool = True
    is_nopass: bool = False
    passwords: tuple[str, ...] = field(default=(), repr=False)  # SHA-256 in hexadecimal
    rules: str = ALL_RIGHTS
    preset: str | None = None  # under which name the rules are written, if under one
    verified_by: Verification | None = None  # who judges what it gives for a password; None: its hashes
    session: float = 0.0  # seconds until it has to log in again; 0 = never


class UserSpec(TypedDict):
    name: str
    enabled: bool
    nopass: bool
    passwords: list[str]
    rules: str
    verified: bool
    session: float


class AccessSpec(TypedDict):
    users: list[UserSpec]


def user_line(user: ProxyUser) -> str:
    """A user in one line, as ACL LIST shows it behind the name."""
    flags = ["on" if user.is_enabled else "off", *(["nopass"] if user.is_nopass else [])]
    return " ".join([*flags, *(f"#{password}" for password in user.passwords), user.rules]).strip()


def user_changed(user: ProxyUser, modifiers: Sequence[bytes], rules: Rules) -> ProxyUser:
    """What ACL SETUSER makes of a user; raise RuleError, which may quote a password.

    Beyond what a config may say of a user it makes none.
    """
    line = rules.apply(user_line(user), modifiers)
    found = rules.describe(line)
    is_own = (found.is_nopass, found.passwords) != (user.is_nopass, user.passwords)
    if user.verified_by is not None and is_own:
        raise RuleError(f"user {user.name} has no password: it logs in by {_WAYS[user.verified_by]}")
    if len(found.passwords) > MAX_PASSWORDS:
        raise RuleError(f"user {user.name} would have {len(found.passwords)} passwords, not {MAX_PASSWORDS}")
    rights = _rights(found)
    is_same = user.rules != "" and rights == _rights(rules.describe(user_line(user)))
    if len(rights) > MAX_RULES:
        raise RuleError(f"the rules of user {user.name} would have {len(rights)} characters, not {MAX_RULES}")
    return replace(
        user,
        is_enabled=found.is_enabled,
        is_nopass=found.is_nopass,
        passwords=found.passwords,
        rules=user.rules if is_same else rights,
        preset=user.preset if is_same else None,
    )


def _rights(found: Described) -> str:
    sanitize = [flag for flag in found.flags if flag.endswith("sanitize-payload")]
    return " ".join([*sanitize, found.rules])


_WAYS = {"iam": "IAM tokens", "external": "an external verifier"}

# What ACL SETUSER begins with.
NEW_USER = ProxyUser("", is_enabled=False, rules="")
ANYBODY = ProxyUser(DEFAULT_USER, is_nopass=True)  # who never logged in, where nobody has to
NOBODY = ProxyUser(DEFAULT_USER, is_enabled=False, rules="")  # the same, where everybody has to


def users_read(cluster: Cluster, placed: Sequence[PlacedUser], files: FilesRead) -> tuple[ProxyUser, ...]:
    """The users of a cluster where clients have to log in, their passwords read now.

    Raise UsersError with every password that cannot be read, and every rule that the command table does not
    know.
    """
    users: dict[str, ProxyUser] = {}
    problems = list(rules_wrong(placed))
    session = cluster.access.iam.session if cluster.access is not None and cluster.access.iam else 0.0
    for one in placed:
        user = one.user
        hashes, faults = _hashes(one, files)
        problems += faults
        users[user.name] = ProxyUser(
            user.name,
            is_enabled=user.enabled,
            is_nopass=user.nopass,
            passwords=hashes,
            rules=user.rights,
            preset=user.preset.value if user.preset is not None else None,
            verified_by="iam" if user.iam else "external" if user.external else None,
            session=session if user.iam else 0.0,
        )
    if problems:
        raise UsersError(problems)
    users.setdefault(DEFAULT_USER, NOBODY)
    return tuple(users.values())


def _hashes(placed: PlacedUser, files: FilesRead) -> tuple[tuple[str, ...], list[tuple[Source, Problem]]]:
    hashes: list[str] = []
    faults: list[tuple[Source, Problem]] = []
    for i, password in enumerate(placed.user.passwords):
        if password.file is not None:
            files.note(password.file)
        try:
            hashes.append(password.hash())
        except SecretError as error:
            faults.append(placed.problem(("passwords", i), str(error)))
    return tuple(dict.fromkeys(hashes)), faults


def rules_wrong(placed: Sequence[PlacedUser]) -> Iterator[tuple[Source, Problem]]:
    """Find the rules that Redis would refuse."""
    for one in placed:
        try:
            rules_of_package().check(one.user.rights)
        except RuleError as error:
            yield one.problem(("rules",), str(error), error.hint)


def access_spec(users: tuple[ProxyUser, ...] | None) -> AccessSpec | None:
    """Describe the users of a cluster to the data plane; None, as `users` too, where nobody has to log in."""
    if users is None or users == (ANYBODY,):
        return None
    return AccessSpec(
        users=[
            UserSpec(
                name=user.name,
                enabled=user.is_enabled,
                nopass=user.is_nopass,
                passwords=list(user.passwords),
                rules=user.rules,
                verified=user.verified_by is not None,
                session=user.session,
            )
            for user in users
        ]
    )
