"""What a principal may connect to: both the cluster and the user, and a denial wins."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.access.policies import Statement, cluster_arn, is_connect_allowed, matches, user_arn
from shardproxy.access.sigv4 import Expected
from tests.unit.access.tokens import CLUSTER, NOW, REGION, USER

ACCOUNT = "123456789012"
ARN = f"arn:aws:elasticache:us-east-1:{ACCOUNT}"
LOGIN = Expected(CLUSTER, USER.encode(), NOW, REGION)


def allow(*resources: str, actions: tuple[str, ...] = ("elasticache:Connect",)) -> Statement:
    return Statement(True, actions, resources)


def deny(*resources: str, actions: tuple[str, ...] = ("elasticache:Connect",)) -> Statement:
    return Statement(False, actions, resources)


BOTH = allow(f"{ARN}:replicationgroup:my-cache", f"{ARN}:user:iam-user-01")


@pytest.mark.parametrize(
    ("statements", "is_allowed"),
    [
        ([BOTH], True),
        ([], False),
        ([allow(f"{ARN}:replicationgroup:my-cache")], False),
        ([allow(f"{ARN}:user:iam-user-01")], False),
        ([allow(f"{ARN}:replicationgroup:my-cache"), allow(f"{ARN}:user:iam-user-01")], True),
        ([allow(f"{ARN}:replicationgroup:*", f"{ARN}:user:iam-user-??")], True),
        ([allow(f"{ARN}:replicationgroup:my-cach", f"{ARN}:user:iam-user-01")], False),
        ([allow(f"{ARN}:serverlesscache:my-cache", f"{ARN}:user:iam-user-01")], False),
        ([allow("*")], True),
        ([allow("*", actions=("*",))], True),
        ([allow("*", actions=("elasticache:*",))], True),
        ([allow("*", actions=("ELASTICACHE:connect",))], True),
        ([allow("*", actions=("memorydb:Connect",))], False),
        ([allow("*", actions=("elasticache:Describe*",))], False),
        ([allow("arn:aws:elasticache:eu-central-1:*")], False),
        ([allow("arn:aws:elasticache:*:999999999999:*")], False),
        ([BOTH, deny(f"{ARN}:user:iam-user-01")], False),
        ([deny(f"{ARN}:user:iam-user-01"), BOTH], False),
        ([BOTH, deny(f"{ARN}:replicationgroup:my-*")], False),
        ([BOTH, deny(f"{ARN}:user:iam-user-02")], True),
        ([BOTH, deny("*", actions=("elasticache:DeleteUser",))], True),
    ],
)
def test_policies_decide(statements: list[Statement], is_allowed: bool) -> None:
    assert is_connect_allowed(tuple(statements), LOGIN, ACCOUNT) is is_allowed


@pytest.mark.parametrize(
    ("options", "cluster", "user"),
    [
        ({}, f"{ARN}:replicationgroup:my-cache", f"{ARN}:user:iam-user-01"),
        ({"is_serverless": True}, f"{ARN}:serverlesscache:my-cache", f"{ARN}:user:iam-user-01"),
        ({"host": "My-Cache"}, f"{ARN}:replicationgroup:my-cache", f"{ARN}:user:iam-user-01"),
        (
            {"service": "memorydb"},
            f"arn:aws:memorydb:us-east-1:{ACCOUNT}:cluster/my-cache",
            f"arn:aws:memorydb:us-east-1:{ACCOUNT}:user/iam-user-01",
        ),
        (
            {"region": "cn-north-1"},
            f"arn:aws-cn:elasticache:cn-north-1:{ACCOUNT}:replicationgroup:my-cache",
            f"arn:aws-cn:elasticache:cn-north-1:{ACCOUNT}:user:iam-user-01",
        ),
        (
            {"region": "us-gov-west-1"},
            f"arn:aws-us-gov:elasticache:us-gov-west-1:{ACCOUNT}:replicationgroup:my-cache",
            f"arn:aws-us-gov:elasticache:us-gov-west-1:{ACCOUNT}:user:iam-user-01",
        ),
    ],
)
def test_resources_have_the_names_aws_gives_them(options: dict[str, Any], cluster: str, user: str) -> None:
    login = replace(LOGIN, **options)
    assert (cluster_arn(login, ACCOUNT), user_arn(login, ACCOUNT)) == (cluster, user)


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=10))
def test_patterns_match_as_regular_expressions_would(pattern: str, text: str) -> None:
    wanted = re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) is not None
    assert matches(pattern, text) is wanted


def test_a_pattern_made_to_take_long_does_not() -> None:
    assert not matches("*a" * 1000, "a" * 999 + "b")
