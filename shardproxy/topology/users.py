"""Users as they are now: as configured, and as clients that may do so changed them since.

    settings ─┐
    changes  ─┴─> users ─> follower ─> data plane

Changes are kept beside the state file; where a cluster has a users file they are kept there, by ACL SAVE.
Knows no rule.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import structlog
import trio

from shardproxy.access.audit import NO_AUDIT, Audit
from shardproxy.config import Config, ConfigError
from shardproxy.config.access import MAX_USERS
from shardproxy.config.loading import read_text, text_of
from shardproxy.config.users import UsersError, parse_users_file, read_users_file
from shardproxy.config.users_write import users_file_edit
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.dataplane.users import ProxyUser, rules_wrong
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.replace import file_rewrite
from shardproxy.topology.refusal import REFUSALS, problems
from shardproxy.topology.reload import Clusters, ServeError
from shardproxy.topology.user_changes import (
    ByName,
    Change,
    Changes,
    Edit,
    by_name,
    change_of,
    changes_encode,
    changes_standing,
    changes_void,
    edit_of,
    laid_over,
    names_in,
    users_changed,
)

CHANGE_WITHIN = 20.0  # seconds
UNDO_WITHIN = 10.0  # seconds

log = structlog.get_logger()


class UserChangeError(Exception):
    """Why users cannot be changed; they are as they were."""


class Keeper(Protocol):
    """Where changes outlive this process."""

    async def write(self, value: Any) -> None:
        """Raise StoreUnavailableError."""


class UserBook:
    """The users of all clusters, and their changes. Whoever changes what is served has its `turn`."""

    def __init__(
        self,
        keeper: Keeper,
        changes: Mapping[str, Changes],
        serve: Callable[[Clusters, str], Awaitable[object]],
        reread: Callable[[str], Awaitable[None]],
        audit: Audit = NO_AUDIT,
    ) -> None:
        """`serve` has settings served; `reread` has them read anew, and changes of that cluster forgotten.

        In `audit` is noted who changed what.
        """
        self.turn = trio.Lock()
        self._keeper = keeper
        self._changes = {cluster: dict(of) for cluster, of in changes.items()}
        self._serve = serve
        self._reread = reread
        self._audit = audit
        self._configured: Clusters = {}
        self._files: dict[str, Path] = {}  # by cluster, of its users
        self._fixed: dict[str, frozenset[str]] = {}  # beside a file: users that stand in the config itself

    def users(self, cluster: str) -> tuple[ProxyUser, ...]:
        """As they are served; none of a cluster that is not."""
        settings = self._configured.get(cluster)
        if settings is None:
            return ()
        return tuple(users_changed(by_name(settings), self._changes.get(cluster, {})).values())

    # --- when settings are read; all in one's turn ---

    def laid_over(self, configured: Clusters, forget: str | None = None) -> dict[str, ClusterSettings]:
        """The settings with users as they were changed since, but for those of one cluster."""
        changes = {name: of for name, of in self._changes.items() if name != forget}
        return laid_over(configured, changes)

    async def take(self, config: Config, configured: Clusters, forget: str | None = None) -> None:
        """These settings are served now: changes that they make void are gone."""
        self._configured = configured
        self._files = {
            name: config.source.directory / cluster.access.users_file
            for name, cluster in config.clusters.items()
            if cluster.access is not None and cluster.access.users_file is not None
        }
        self._fixed = {name: names_in(config, name) for name in self._files}
        standing: dict[str, dict[str, Change]] = {}
        for name, changes in self._changes.items():
            if name == forget:
                continue
            if name not in configured:
                self._note_void(name, sorted(changes), "there is no such cluster any more")
                continue
            users = by_name(configured[name])
            standing[name] = changes_standing(users, changes)
            self._note_void(name, changes_void(users, changes), "the config says something newer of them")
        if standing != self._changes:
            self._changes = standing
            try:
                await self._keep()
            except StoreUnavailableError as error:  # they are void at the next start, too
                log.warning("void changes of users are still kept", why=str(error))

    # --- what clients ask for ---

    async def change(self, cluster: str, edit: Edit, by: str) -> None:
        """Change users, have them served and kept; raise UserChangeError, and then nothing has changed.

        `by`: the user who asks for it, as in `load` and `save`.
        """
        async with self.turn:
            settings = self._configured.get(cluster)
            if settings is None:
                raise UserChangeError(f"cluster {cluster} is no longer served")
            configured, before = by_name(settings), self._changes
            now = users_changed(configured, before.get(cluster, {}))
            edited = edit(now)
            if fixed := edited.keys() & self._fixed.get(cluster, frozenset()):
                raise UserChangeError(f"user {min(fixed)} stands in the config file: change it there")
            changes = dict(before.get(cluster, {}))
            for name, user in edited.items():
                changes[name] = change_of(configured.get(name), user)
            changes = changes_standing(configured, changes)
            if len(users_changed(configured, changes)) > MAX_USERS:
                raise UserChangeError(f"cluster {cluster} has {MAX_USERS} users, and no more are possible")
            await self._commit({**before, cluster: changes})
            self._note("users_changed", cluster, by, sorted(edited))

    async def load(self, cluster: str, by: str) -> None:
        """Read the cluster's users anew; what was not saved is forgotten."""
        async with self.turn:
            self._file(cluster)
            await self._read_anew(cluster)
            self._note("users_loaded", cluster, by)

    async def save(self, cluster: str, by: str) -> None:
        """Write the cluster's changes into its file of users."""
        async with self.turn:
            path = self._file(cluster)
            changes = self._changes.get(cluster, {})
            if not changes:
                return
            if fixed := changes.keys() & self._fixed.get(cluster, frozenset()):
                raise UserChangeError(
                    f"not saved: user {min(fixed)} stands in the config file: change it there"
                )
            configured = by_name(self._configured[cluster])
            try:
                await trio.to_thread.run_sync(users_file_change, path, configured, changes)
            except OSError as error:
                raise UserChangeError(f"{path} cannot be written: {error.strerror or error}") from error
            except (ConfigError, UsersError) as error:
                raise UserChangeError(f"not saved: {'; '.join(error.reasons)}") from error
            await self._read_anew(cluster)
            self._note("users_saved", cluster, by, sorted(changes))

    def _note_void(self, cluster: str, users: Sequence[str], why: str) -> None:
        if users:
            log.warning("changes of users are void", cluster=cluster, users=users, why=why)
            self._audit.note("user_changes_void", cluster=cluster, object=" ".join(users), why=why)

    def _note(self, event: str, cluster: str, by: str, users: Sequence[str] = ()) -> None:
        log.info(event.replace("_", " "), cluster=cluster, by=by, users=users)
        self._audit.note(event, cluster=cluster, user=by, object=" ".join(users))

    async def _commit(self, changes: dict[str, dict[str, Change]]) -> None:
        """Have changes kept and served; begun, that is done or undone."""
        before, self._changes = self._changes, changes
        is_done = False
        try:
            with trio.move_on_after(CHANGE_WITHIN, shield=True):
                await self._keep()
                await self._serve(laid_over(self._configured, self._changes), "users changed")
                is_done = True
        except StoreUnavailableError as error:
            raise UserChangeError(f"the change cannot be kept: {error}") from error
        except ServeError as error:
            raise UserChangeError(str(error)) from error
        finally:
            if not is_done:
                await self._undo(before)
        if not is_done:
            raise UserChangeError(f"the change was not served within {CHANGE_WITHIN:g} s")

    async def _read_anew(self, cluster: str) -> None:
        try:
            await self._reread(cluster)
        except REFUSALS as error:
            raise UserChangeError("; ".join(problems(error))) from error

    def _file(self, cluster: str) -> Path:
        if cluster not in self._files:
            raise UserChangeError(
                "This Redis instance is not configured to use an ACL file: there is no users_file, and"
                " changes of users are kept without being saved"
            )
        return self._files[cluster]

    async def _keep(self) -> None:
        kept = {name: of for name, of in self._changes.items() if of and name not in self._files}
        await self._keeper.write(changes_encode(kept))

    async def _undo(self, before: dict[str, dict[str, Change]]) -> None:
        self._changes = before
        with trio.move_on_after(UNDO_WITHIN, shield=True):
            try:
                await self._keep()
            except StoreUnavailableError as error:
                log.warning("a change of users that failed may come back at the next start", why=str(error))


def users_file_change(path: Path, configured: ByName, changes: Changes) -> None:
    """Write changes into a file of users, in place of what its symbolic links lead to.

    Raise OSError, or ConfigError or UsersError where it has mistakes, or would have them then: it is not made
    worse.
    """
    path = path.resolve()
    now = users_changed(configured, changes)
    there = {placed.user.name for placed in read_users_file(path)}
    edits = {
        name: edit_of(configured.get(name) if name in there else None, now[name]) if name in now else None
        for name in changes
    }
    data = users_file_edit(read_text(path), edits).encode()
    written = parse_users_file(text_of(data, str(path)), str(path))
    if wrong := list(rules_wrong(written)):
        raise UsersError(wrong)
    file_rewrite(path, data)
