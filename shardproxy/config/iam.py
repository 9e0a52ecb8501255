"""Logins that are verified outside of the list of users: IAM tokens, and other services' words."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shardproxy.config.base import Section
from shardproxy.config.durations import PositiveDuration


class Iam(Section):
    """How IAM authentication tokens are verified."""

    keys: Annotated[str, Field(min_length=1, max_length=4000, examples=["/etc/shardproxy/iam.yaml"])]
    """The file with the access keys whose tokens are taken."""
    cluster: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """What the tokens call this cluster. Default: its name."""
    session: PositiveDuration = 43200.0
    """How long a login lasts; another token prolongs it."""


class Verifier(Section):
    """Who is asked about passwords."""

    url: Annotated[str, Field(min_length=1, max_length=2000, examples=["https://auth.example.com/verify"])]
    """Where it is asked."""
    timeout: PositiveDuration = 2.0
    """How long it has to answer."""
    cache: PositiveDuration = 60.0
    """How long an answer is good for."""
