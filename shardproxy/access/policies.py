"""What a principal may connect to, as IAM policies say it. Pure.

A login touches two resources, the cluster and the user, and has to be allowed both; one statement that denies
either ends it, whatever others allow.
"""

from __future__ import annotations

from dataclasses import dataclass

from shardproxy.access.sigv4 import Token


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy; in its patterns `*` and `?` stand for any text and for one character."""

    is_allowed: bool  # else it denies
    actions: tuple[str, ...]
    resources: tuple[str, ...]

    def is_about(self, action: str, resource: str) -> bool:
        return any(matches(pattern.lower(), action.lower()) for pattern in self.actions) and any(
            matches(pattern, resource) for pattern in self.resources
        )


def is_connect_allowed(statements: tuple[Statement, ...], token: Token, account: str) -> bool:
    """Whether the login that a token asks for is allowed."""
    action = f"{token.scope.service}:Connect"
    touched = [cluster_arn(token, account), user_arn(token, account)]
    about = [[s.is_allowed for s in statements if s.is_about(action, resource)] for resource in touched]
    return all(found and all(found) for found in about)


def cluster_arn(token: Token, account: str) -> str:
    """The cluster a token names, as policies name it."""
    if token.scope.service == "memorydb":
        return f"{_prefix(token, account)}:cluster/{token.host}"
    kind = "serverlesscache" if token.is_serverless else "replicationgroup"
    return f"{_prefix(token, account)}:{kind}:{token.host}"


def user_arn(token: Token, account: str) -> str:
    """The user a token names, as policies name it."""
    separator = "/" if token.scope.service == "memorydb" else ":"
    return f"{_prefix(token, account)}:user{separator}{token.user.decode('utf-8', 'replace')}"


def matches(pattern: str, text: str) -> bool:
    """Match a whole text against `*` and `?`, in time of their lengths' product at most."""
    at, place = 0, 0
    star, resume = -1, 0
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, resume = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", text[at]):
            place += 1
            at += 1
        elif star >= 0:
            resume += 1
            place, at = star + 1, resume
        else:
            return False
    return pattern[place:].strip("*") == ""


def _prefix(token: Token, account: str) -> str:
    scope = token.scope
    return f"arn:{_partition(scope.region)}:{scope.service}:{scope.region}:{account}"


def _partition(region: str) -> str:
    """Regions of China and of the government are AWS' own partitions."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
