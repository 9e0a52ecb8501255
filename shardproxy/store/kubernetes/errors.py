"""What the API server said no with, and whether a write may have happened all the same."""

from __future__ import annotations

from shardproxy.store.interface import StoreUnavailableError

MAX_MESSAGE = 300  # characters of what a server says; it ends up in logs


class ApiError(StoreUnavailableError):
    """The API server did not do it, or did not say that it did."""

    is_in_doubt = False  # whether it may have been done


class UnreachableError(ApiError):
    """No answer, or one that says to come again: a write may have been done."""

    is_in_doubt = True


class DeniedError(ApiError):
    """It does not know who asks (401), or does not let them (403)."""


class NotFoundError(ApiError):
    """There is no such object."""


class VersionConflictError(ApiError):
    """The object is not of that resourceVersion or uid, or exists already."""


class GoneError(ApiError):
    """What came after that resourceVersion is not known any more: list again."""


class RejectedError(ApiError):
    """It does not take what was sent."""


def error_of(status: int, message: str, what: str) -> ApiError:
    """The error that a status means."""
    text = f"Kubernetes: {what}: {status} {message[:MAX_MESSAGE]}".rstrip()
    match status:
        case 401:
            return DeniedError(f"{text}: the token is not accepted")
        case 403:
            return DeniedError(f"{text}: see deploy/kubernetes/base/rbac.yaml for the rights it takes")
        case 404:
            return NotFoundError(text)
        case 409 | 412:
            return VersionConflictError(text)
        case 410:
            return GoneError(text)
        case 408 | 429:
            return UnreachableError(text)
        case _ if status >= 500:
            return UnreachableError(text)
        case _:
            return RejectedError(text)
