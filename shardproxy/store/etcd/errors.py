"""What can be wrong with a request to etcd, by what to do about it."""

from __future__ import annotations

from shardproxy.store.interface import StoreUnavailableError

# gRPC's codes, as the gateway passes them on
INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED = 3, 5, 7, 8
FAILED_PRECONDITION, OUT_OF_RANGE, UNAUTHENTICATED = 9, 11, 16
OLD_LOGIN = ("invalid auth token", "revision of auth store is old", "auth revision in header is old")
NO_LEASE = "requested lease not found"
FULL = "database space exceeded"
NO_USERS = "authentication is not enabled"


class EtcdUnavailableError(StoreUnavailableError):
    """No usable answer: what was asked for may have happened. Another member may answer."""


class EtcdRefusedError(StoreUnavailableError):
    """Refused, and nothing has happened: another member would say the same."""


class LoginOldError(EtcdRefusedError):
    """A login that counts no more; another one may."""


class NoUsersError(EtcdRefusedError):
    """There is nobody to log in as: etcd lets in everybody."""


class LeaseGoneError(EtcdRefusedError):
    """The lease has ended, and all that hung on it with it."""


class CompactedError(EtcdRefusedError):
    """What came after that revision is not known one by one any more: read all again."""


class DataLostError(StoreUnavailableError):
    """What etcd holds now is older than what it held before: nothing is taken from it, or written."""


def error_of(code: int, text: str, where: str) -> StoreUnavailableError:
    """What to raise for an error that etcd answered with."""
    why = f"{where}: {text}"
    if code == UNAUTHENTICATED or any(old in text for old in OLD_LOGIN):
        return LoginOldError(why)
    if code == NOT_FOUND and NO_LEASE in text:
        return LeaseGoneError(why)
    if code == OUT_OF_RANGE and "compacted" in text:
        return CompactedError(why)
    if code == FAILED_PRECONDITION and NO_USERS in text:
        return NoUsersError(why)
    if code == PERMISSION_DENIED:
        return EtcdRefusedError(f"{why}: give the user a role with readwrite on the prefix")
    if code == RESOURCE_EXHAUSTED and FULL in text:
        return EtcdRefusedError(
            f"{why}: etcd takes no writes until it is compacted and defragmented, or has a larger"
            " --quota-backend-bytes, and then etcdctl alarm disarm"
        )
    if code == INVALID_ARGUMENT and "user name is empty" in text:
        return EtcdRefusedError(f"{why}: etcd has users, so the store needs a username and a password")
    if code in (INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, OUT_OF_RANGE):
        return EtcdRefusedError(why)
    return EtcdUnavailableError(why)
