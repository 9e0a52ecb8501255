"""One object, changed by compare-and-set: all changes that wait go into one PUT, over what was last seen.

no answer     the object is read again: ours may have landed (it names its last write), else once more
409           another one has changed it, or our own first try has landed: read again, and apply anew
404           it is gone: apply to nothing
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import trio

from shardproxy.store.batch import Batches
from shardproxy.store.interface import StoreError, StoreUnavailableError
from shardproxy.store.kubernetes.api import Api
from shardproxy.store.kubernetes.errors import NotFoundError, VersionConflictError
from shardproxy.store.kubernetes.mirror import Mirror
from shardproxy.store.kubernetes.objects import (
    DAMAGED,
    Body,
    DamagedError,
    Stored,
    TooLargeError,
    object_of,
    stored_of,
)
from shardproxy.store.statistics import StoreStatistics

MAX_ATTEMPTS = 8  # of writers who change the same object at once, so many can come before us
RETRY = 0.1  # seconds between attempts that are not answered

T = TypeVar("T")

Apply = Callable[[Body | None], tuple[Body | None, T]]


@dataclass(slots=True, eq=False)
class Change(Generic[T]):
    """One that waits to be written. `apply` gets the object as it is (None = it is not there) and returns it
    as it shall be, with what came of it; the same object again changes nothing. It raises StoreError or
    ValueError for what may not be, and may be asked more than once."""

    apply: Apply[T]
    outcome: T | None = None
    error: StoreError | ValueError | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object is, and what is said of it beside its values."""

    name: str
    labels: Mapping[str, str]
    owners: tuple[Mapping[str, Any], ...] = ()


class Writer:
    """Writes one object. `sign` names each of our writes, so that it is known again."""

    def __init__(
        self,
        api: Api,
        mirror: Mirror,
        place: Place,
        sign: Callable[[], str],
        statistics: StoreStatistics,
        *,
        patience: float,
    ) -> None:
        self._api = api
        self._mirror = mirror
        self._place = place
        self._sign = sign
        self._statistics = statistics
        self._patience = patience  # seconds for all attempts together
        self._batches: Batches[Change[Any]] = Batches(self._write)

    async def change(self, apply: Apply[T]) -> T:
        """Have it written, with all that waits; raise what `apply` raises, ValueError for what is too large,
        or StoreUnavailableError."""
        change = Change(apply)
        await self._batches.add(change)
        if change.error is not None:
            raise change.error
        return cast(T, change.outcome)

    async def _write(self, changes: list[Change[Any]]) -> None:
        began = trio.current_time()
        error: StoreError | None = None
        try:
            with trio.fail_after(self._patience):
                await self._attempt(changes)
        except trio.TooSlowError:
            error = StoreUnavailableError(f"Kubernetes: {self._place.name}: not written in time")
        except StoreError as why:
            error = why
        except TooLargeError as why:
            await self._without_the_large(changes, why)
        if error is not None:
            for change in changes:
                change.error = change.error or error
        self._statistics.observe(trio.current_time() - began, ok=error is None)

    async def _attempt(self, changes: list[Change[Any]]) -> None:
        """Write them; raise StoreError when it was not, as far as we know."""
        sign, seen, is_fresh = self._sign(), self._mirror.get(self._place.name), False
        failure: StoreError | None = None
        for _ in range(MAX_ATTEMPTS):
            body = self._applied(changes, seen)
            if body is None:
                if is_fresh:  # what was seen before may be old
                    return
            else:
                try:
                    self._mirror.take(await self._send({**body, "write": sign}, seen))
                    return
                except (NotFoundError, VersionConflictError):
                    pass
                except StoreUnavailableError as error:
                    if not getattr(error, "is_in_doubt", False):
                        raise
                    failure = error
                    await trio.sleep(RETRY)
            seen, is_fresh = await self._read(retry=failure is not None), True
            if seen is not None and seen.body.get("write") == sign:
                return  # our own try has landed, and its answer was lost
        raise failure or StoreUnavailableError(f"Kubernetes: {self._place.name}: others are always faster")

    def _applied(self, changes: list[Change[Any]], seen: Stored | None) -> Body | None:
        """The object as all of them leave it; None = nothing is to be written."""
        name = self._place.name
        lost = self._mirror.lost(name) if seen is None else None
        try:
            before = seen.body if seen is not None else None
            body = lost.body if lost is not None else before  # neither epochs nor turns may begin anew
        except ValueError as error:
            if seen is None or seen.kind.is_lasting:
                raise DamagedError(name, error) from error
            before = body = {}  # its one writer says all of it each time
        for change in changes:
            change.error = None
            try:
                body, change.outcome = change.apply(body)
            except (StoreError, ValueError) as why:
                change.error = why
            except DAMAGED as why:
                change.error = DamagedError(name, why)
        return None if body is before else body

    async def _send(self, body: Body, seen: Stored | None) -> Stored:
        place = self._place
        value = object_of(place.name, place.labels, body, replaces=seen, owners=place.owners)
        collection = collection_of(self._api)
        if seen is None:
            return stored_of(await self._api.create(collection, value))
        return stored_of(await self._api.replace(f"{collection}/{place.name}", value))

    async def _read(self, *, retry: bool) -> Stored | None:
        """The object now; asked for again and again while there is no answer, where `retry` says so."""
        while True:
            try:
                seen = stored_of(await self._api.get(f"{collection_of(self._api)}/{self._place.name}"))
            except NotFoundError:
                return None
            except StoreUnavailableError as error:
                if not (retry and getattr(error, "is_in_doubt", False)):
                    raise
                await trio.sleep(RETRY)
                continue
            self._mirror.take(seen)
            return seen

    async def _without_the_large(self, changes: list[Change[Any]], why: TooLargeError) -> None:
        """Written one by one, only who makes it too large is told so."""
        if len(changes) == 1:
            changes[0].error = why
            return
        for change in changes:
            await self._write([change])


def collection_of(api: Api) -> str:
    return f"/api/v1/namespaces/{api.namespace}/configmaps"
