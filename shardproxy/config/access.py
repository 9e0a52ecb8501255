"""Who may use a cluster: users, their passwords and their rights.

A password stands here as its SHA-256 or as the place where it is kept, never as itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from shardproxy.config.base import Section, refused
from shardproxy.config.iam import Iam, Verifier
from shardproxy.config.inbound import GroupNames
from shardproxy.config.secrets import Secret

MAX_USERS = 1000  # of a cluster, a group or a file, as ElastiCache has it
MAX_GROUPS = 100
MAX_PASSWORDS = 100  # each is hashed against at every login
MAX_NAME = 200  # characters
DEFAULT_USER = "default"  # whoever connects and has not logged in

_HINT = "write {sha256: ...}, as from: printf %s 'the password' | sha256sum; or {file: ...}, {env: ...}"


class Preset(Enum):
    """Rights that most users have, under a name."""

    READ_ONLY = "read-only"
    READ_WRITE = "read-write"
    ADMIN = "admin"

    @property
    def rules(self) -> str:
        """The same in ACL rules."""
        return PRESETS[self]


ALL_RIGHTS = "~* &* +@all"

# INFO and ROLE are dangerous to Redis for what they tell, and client libraries ask for them.
PRESETS = {
    # Scripts that only read are in; what they call is for the engines to judge, by the proxy's own user.
    Preset.READ_ONLY: "%R~* &* +@read +@connection +@transaction +@pubsub -publish -spublish +cluster"
    " +acl|whoami +eval_ro +evalsha_ro +fcall_ro -@dangerous +info +role",
    # No scripts: what they call is judged by the engines, for the proxy's own user.
    Preset.READ_WRITE: "~* &* +@all -@admin -@dangerous -@scripting +info +role +sort +sort_ro",
    Preset.ADMIN: ALL_RIGHTS,
}


class Password(Secret):
    """A password of a user: exactly one of `sha256`, `file` and `env`."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    sha256: Annotated[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None, Field(repr=False)] = None
    """The password's SHA-256 in hexadecimal: printf %s 'the password' | sha256sum"""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(given is not None for given in (self.sha256, self.file, self.env)) != 1:
            raise refused("give exactly one of sha256, file and env", _HINT)
        return self

    def hash(self) -> str:
        """The SHA-256 in hexadecimal; raise SecretError where the password cannot be read."""
        return self.sha256 if self.sha256 is not None else hash_of(self.read())


def hash_of(password: str | bytes) -> str:
    """A password's SHA-256 as users have it."""
    return hashlib.sha256(password.encode() if isinstance(password, str) else password).hexdigest()


def _not_literal(value: object) -> object:
    if isinstance(value, (str, int, float)):
        raise refused("a password is never written in the config", _HINT)
    return value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, (str, int, float, Mapping)) else value


# Words of Redis' ACL that are said elsewhere here, by their beginning.
_ELSEWHERE = {
    "off": ("rules do not switch a user off", "write enabled: false"),
    "nopass": ("whether a user needs a password is not said in the rules", "write nopass: true"),
    "resetpass": ("passwords do not stand in the rules", "list them under passwords:"),
    "reset": ("rules begin with nothing anyway", "leave reset out"),
}
_PASSWORDS = (">", "<", "#", "!")


def _rules(value: object) -> object:
    """Join rules, and turn away what is no right. Whether the rest is a rule the command table knows."""
    if isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value):
        value = " ".join(value)
    if not isinstance(value, str):
        raise refused("must be text or a list of text", 'as in rules: "~app:* +@read +@write"')
    words = value.split()
    for word in words:
        if word.startswith(_PASSWORDS):
            raise refused("passwords do not stand in the rules", "list them under passwords: " + _HINT)
        if (found := _ELSEWHERE.get(word.lower())) is not None:
            raise refused(*found)
    return " ".join(word for word in words if word.lower() != "on")


UserName = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=r"^[^\s\x00]+$", examples=["app"])]
Rules = Annotated[
    str, Field(max_length=64_000), BeforeValidator(_rules, json_schema_input_type=str | list[str])
]


class User(Section):
    """A user, who logs in by AUTH or HELLO."""

    name: UserName
    """What the user logs in as. `default` is who gives a password alone, or none where `nopass` is set."""
    enabled: bool = True
    """Whether the user may log in."""
    passwords: Annotated[
        tuple[Annotated[Password, BeforeValidator(_not_literal, json_schema_input_type=Password)], ...],
        Field(max_length=MAX_PASSWORDS),
        BeforeValidator(_as_list, json_schema_input_type=Password | list[Password]),
    ] = ()
    """Any of them will do: while they are rotated list the old and the new."""
    nopass: bool = False
    """Whether any password will do. The user `default` is then who has not logged in at all."""
    iam: bool = False
    """Whether the user logs in by an IAM authentication token."""
    external: bool = False
    """Whether `verifier` is asked about the user's password."""
    rules: Rules | None = None
    """What the user may do, in the words of Redis' ACL: `~app:* &news +@read -keys`. Default: everything."""
    preset: Preset | None = None
    """The same by a name: `read-only`, `read-write` (all but what is dangerous, and scripts) or
    `admin` (all)."""

    @model_validator(mode="after")
    def _means_one_thing(self) -> Self:
        if self.rules is not None and self.preset is not None:
            raise refused("give rules or preset, not both", "leave out one of them")
        ways = [
            way
            for way, is_given in (
                ("passwords", bool(self.passwords)),
                ("nopass", self.nopass),
                ("iam", self.iam),
                ("external", self.external),
            )
            if is_given
        ]
        if len(ways) > 1:
            raise refused(f"a user with {ways[0]} has no {ways[1]}", f"leave out {ways[1]}")
        return self

    @property
    def rights(self) -> str:
        """What the user may do, in ACL rules, from nothing on."""
        if self.preset is not None:
            return self.preset.rules
        return ALL_RIGHTS if self.rules is None else self.rules


Users = Annotated[tuple[User, ...], Field(max_length=MAX_USERS)]
GroupName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\S+$", examples=["team"])]


class Group(Section):
    """Users that several clusters have."""

    name: GroupName
    """What `groups` of a cluster's `access` calls it."""
    users: Annotated[Users, Field(min_length=1)]
    """The users."""


class Access(Section):
    """Who may use a cluster. `access: open` says that nobody has to log in."""

    users: Annotated[Users, Field(min_length=1)] = ()
    """Users of this cluster. Whoever is not named cannot log in, `default` neither."""
    users_file: Annotated[str, Field(min_length=1, max_length=4000, examples=["users.yaml"])] | None = None
    """A YAML file with a list of more users, found from where this file is. It is read again when it changes,
    and ACL SAVE writes it."""
    groups: Annotated[tuple[GroupName, ...], Field(min_length=1, max_length=MAX_GROUPS)] = ()
    """Groups whose users may use this cluster, too."""
    inbound: GroupNames = ()
    """Security groups: only from the addresses they name may clients connect, and over unix sockets, whose
    files say who may open them. Default: from anywhere."""
    iam: Iam | None = None
    """How IAM authentication tokens are verified, for users with `iam: true`."""
    verifier: Verifier | None = None
    """Who is asked about passwords of users with `external: true`."""

    @model_serializer(mode="wrap")
    def _in_short(self, handler: SerializerFunctionWrapHandler) -> object:
        if not (self.asks_login or self.inbound):
            return "open"
        return {key: value for key, value in handler(self).items() if value not in ((), [])}

    @property
    def asks_login(self) -> bool:
        """Whether clients have to log in."""
        return bool(self.users or self.users_file is not None or self.groups)


OPEN = Access.model_construct()


def _as_access(value: object) -> object:
    if value == "open":
        return OPEN
    if isinstance(value, str):
        raise refused("must be open or a mapping", "write {users: [{name: app, passwords: [...]}]}, or open")
    if isinstance(value, Mapping) and not {"users", "users_file", "groups", "inbound"} & value.keys():
        raise refused("names nobody", "list users:, or write access: open, if nobody is to log in")
    return value


def access_short() -> Any:
    """Let the word `open` stand for access by anybody."""
    return BeforeValidator(_as_access, json_schema_input_type=Literal["open"] | Access)
