"""How the proxy logs in to nodes: by a password, or as an IAM user of a real ElastiCache."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.config.iam import NodeIam, NodeIdentity
from shardproxy.config.secrets import Credentials, Secret, not_literal


class PasswordAuth(Section):
    """A login by user name and password."""

    username: Annotated[str, Field(min_length=1, examples=["proxy"])] | None = None
    """User name."""
    password: Annotated[Secret, BeforeValidator(not_literal, json_schema_input_type=Secret)]
    """Where the password is kept."""

    @property
    def files(self) -> tuple[str, ...]:
        """The files that `read` reads."""
        return (self.password.file,) if self.password.file is not None else ()

    def read(self) -> Credentials:
        """Fetch the password now; raise SecretError."""
        return Credentials(self.username, self.password.read())


class NodeAuth(Section):
    """How the proxy logs in to the nodes of a cluster: a password, or iam."""

    username: Annotated[str, Field(min_length=1, examples=["proxy"])] | None = None
    """User name; leave it out for the default user."""
    password: Annotated[Secret, BeforeValidator(not_literal, json_schema_input_type=Secret)] | None = None
    """Where the password is kept."""
    iam: NodeIam | None = None
    """As which IAM user of a real ElastiCache; tokens are made and renewed by the proxy."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.password is None) == (self.iam is None):
            raise refused(
                "give exactly one of password and iam",
                "write {username: proxy, password: {file: /run/secrets/redis-password}}",
            )
        if self.iam is not None and self.username is not None:
            raise refused("iam has a user of its own", "leave out username")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """The files that `read` reads."""
        iam = (self.iam.secret_access_key, self.iam.session_token) if self.iam is not None else ()
        return tuple(place.file for place in (self.password, *iam) if place is not None and place.file)

    def read(self) -> Credentials | NodeIdentity:
        """Fetch the password, or what tokens are signed with, now; raise SecretError."""
        if self.iam is not None:
            return self.iam.read()
        assert self.password is not None
        return Credentials(self.username, self.password.read())
