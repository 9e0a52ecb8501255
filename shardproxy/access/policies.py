"""What a principal may connect to, as IAM policies say it. Pure.

A login touches two resources, the cluster and the user, and has to be allowed both; one statement that denies
either ends it, whatever others allow. Both are named by what is configured, never by what a token says.
"""

from __future__ import annotations

from dataclasses import dataclass

from shardproxy.access.sigv4 import MEMORYDB, Expected


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


def is_connect_allowed(statements: tuple[Statement, ...], login: Expected, account: str) -> bool:
    """Whether a login is allowed."""
    action = f"{login.service}:Connect"
    touched = [cluster_arn(login, account), user_arn(login, account)]
    about = [[s.is_allowed for s in statements if s.is_about(action, resource)] for resource in touched]
    return all(found and all(found) for found in about)


def cluster_arn(login: Expected, account: str) -> str:
    """The cluster that is logged in to, as policies name it."""
    host = login.host.lower()
    if login.service == MEMORYDB:
        return f"{_prefix(login, account)}:cluster/{host}"
    kind = "serverlesscache" if login.is_serverless else "replicationgroup"
    return f"{_prefix(login, account)}:{kind}:{host}"


def user_arn(login: Expected, account: str) -> str:
    """The user who logs in, as policies name it."""
    separator = "/" if login.service == MEMORYDB else ":"
    return f"{_prefix(login, account)}:user{separator}{login.user.decode('utf-8', 'replace')}"


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


def _prefix(login: Expected, account: str) -> str:
    return f"arn:{_partition(login.region)}:{login.service}:{login.region}:{account}"


def _partition(region: str) -> str:
    """Regions of China and of the government are AWS' own partitions."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
