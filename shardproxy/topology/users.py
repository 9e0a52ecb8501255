"""Users as they are now: as configured, and as clients that may do so changed them since.

    settings ─┐
    changes  ─┴─> users ─> follower ─> data plane

Changes are notes, for all proxies that share the store; where a cluster has a users file they are this
process's until ACL SAVE writes them there. Knows no rule.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import structlog
import trio

from shardproxy.access.audit import NO_AUDIT, Audit
from shardproxy.config import Config, ConfigError
from shardproxy.config.access import MAX_USERS
from shardproxy.config.users import UsersError
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.dataplane.users import ProxyUser
from shardproxy.model.board import News
from shardproxy.store.interface import ConflictError, Notebook, StoreUnavailableError
from shardproxy.topology.refusal import REFUSALS, problems
from shardproxy.topology.reload import Clusters, ServeError
from shardproxy.topology.settings import SettingsError
from shardproxy.topology.user_changes import (
    Change,
    Changes,
    Edit,
    by_name,
    change_of,
    changes_standing,
    changes_void,
    laid_over,
    names_in,
    users_changed,
)
from shardproxy.topology.user_notes import UserNotes
from shardproxy.topology.users_file import users_file_change

CHANGE_WITHIN = 20.0  # seconds
UNDO_WITHIN = 10.0  # seconds

TRIES = 10  # against other proxies
FOLLOW_AGAIN = 1.0  # seconds until changes that could not be served are tried again

log = structlog.get_logger()


class UserChangeError(Exception):
    """Why users cannot be changed; they are as they were."""


class UserBook:
    """The users of all clusters, and their changes. Whoever changes what is served has its `turn`."""

    def __init__(
        self,
        notebook: Notebook,
        serve: Callable[[Clusters, str], Awaitable[object]],
        reread: Callable[[str], Awaitable[None]],
        audit: Audit = NO_AUDIT,
    ) -> None:
        """`serve` has settings served; `reread` has them read anew, and changes of that cluster forgotten.

        In `audit` is noted who changed what.
        """
        self.turn = trio.Lock()
        self._notes = UserNotes(notebook)
        self._changes: dict[str, dict[str, Change]] = {}  # that are served, or about to be
        self._serve = serve
        self._reread = reread
        self._audit = audit
        self._configured: Clusters = {}
        self._files: dict[str, Path] = {}  # by cluster, of its users
        self._why_not_followed: list[str] = []  # as was said
        self._fixed: dict[str, frozenset[str]] = {}  # beside a file: users that stand in the config itself

    def users(self, cluster: str) -> tuple[ProxyUser, ...]:
        """As they are served; none of a cluster that is not."""
        settings = self._configured.get(cluster)
        if settings is None:
            return ()
        return tuple(users_changed(by_name(settings), self._changes.get(cluster, {})).values())

    # --- when settings are read; all in one's turn ---

    def laid_over(self, configured: Clusters, forget: str | None = None) -> dict[str, ClusterSettings]:
        """The settings with users as they were changed since, but for those of one cluster.

        Raise SettingsError when changes on record cannot be understood.
        """
        self._take_notes(name for name, settings in configured.items() if not has_file(settings))
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
        self._changes.pop(forget or "", None)
        for name, changes in list(self._changes.items()):
            if name not in configured:  # on record it stays, for others that serve it
                del self._changes[name]
                self._notes.forget(name)
                continue
            users = by_name(configured[name])
            standing = changes_standing(users, changes)
            self._note_void(name, changes_void(users, changes), "the config says something newer of them")
            if standing != changes:
                self._changes[name] = standing
                if name not in self._files:
                    await self._keep_standing(name, standing)

    async def _keep_standing(self, cluster: str, standing: Changes) -> None:
        try:
            await self._notes.keep(cluster, standing)
        except ConflictError:
            return  # somebody else has changed them: they come to be looked at again
        except (StoreUnavailableError, ValueError) as error:  # they are void at the next start, too
            log.warning("void changes of users are still kept", cluster=cluster, why=str(error))

    # --- what other proxies changed ---

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Have served what others changed, until cancelled."""
        news = News()
        self._notes.subscribe(news)
        try:
            task_status.started()
            while True:
                async with self.turn:
                    is_served = await self._follow_notes()
                with trio.move_on_after(float("inf") if is_served else FOLLOW_AGAIN):
                    await news.wait()
        finally:
            self._notes.unsubscribe(news)

    async def _follow_notes(self) -> bool:
        names = [name for name in self._configured if name not in self._files]
        if not self._notes.has_news(names):
            return True
        before = dict(self._changes)
        try:
            changed = self._take_notes(names)
            if not changed:
                return True
            await self._serve(laid_over(self._configured, self._changes), "users changed elsewhere")
        except (SettingsError, ServeError) as error:
            if (why := problems(error)) != self._why_not_followed:
                log.error("users that were changed elsewhere are not served", why=why)
            self._why_not_followed = why
            self._changes = before
            self._notes.forget(*names)  # and are looked at again
            return False
        self._why_not_followed = []
        for name in changed:
            self._note("users_changed", name, "another proxy", sorted(self._changes[name]))
        return True

    def _take_notes(self, clusters: Iterable[str]) -> list[str]:
        """Take changes as they are on record; return the clusters where they are others than before."""
        changed = []
        for name in clusters:
            if (noted := self._notes.read(name)) is not None and noted != self._changes.get(name, {}):
                self._changes[name] = noted
                changed.append(name)
        return changed

    # --- what clients ask for ---

    async def change(self, cluster: str, edit: Edit, by: str) -> None:
        """Change users, have them served and kept; raise UserChangeError, and then nothing has changed.

        `by`: the user who asks for it, as in `load` and `save`.
        """
        async with self.turn:
            for _ in range(TRIES):
                try:
                    edited = await self._change(cluster, edit)
                except ConflictError:  # another proxy changed them at the same moment
                    await self._notes.wait_news(cluster)
                    continue
                self._note("users_changed", cluster, by, edited)
                return
        raise UserChangeError("other proxies change users of this cluster all the time")

    async def _change(self, cluster: str, edit: Edit) -> list[str]:
        settings = self._configured.get(cluster)
        if settings is None:
            raise UserChangeError(f"cluster {cluster} is no longer served")
        try:
            self._take_notes([cluster] if cluster not in self._files else [])
        except SettingsError as error:
            raise UserChangeError("; ".join(problems(error))) from error
        configured, before = by_name(settings), self._changes.get(cluster, {})
        edited = edit(users_changed(configured, before))
        if fixed := edited.keys() & self._fixed.get(cluster, frozenset()):
            raise UserChangeError(f"user {min(fixed)} stands in the config file: change it there")
        changes = dict(before)
        for name, user in edited.items():
            changes[name] = change_of(configured.get(name), user)
        changes = changes_standing(configured, changes)
        if len(users_changed(configured, changes)) > MAX_USERS:
            raise UserChangeError(f"cluster {cluster} has {MAX_USERS} users, and no more are possible")
        await self._commit(cluster, changes)
        return sorted(edited)

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

    async def _commit(self, cluster: str, changes: dict[str, Change]) -> None:
        """Have changes kept and served; begun, that is done or undone. Raise ConflictError: nothing was."""
        before, is_done = self._changes.get(cluster, {}), False
        try:
            with trio.move_on_after(CHANGE_WITHIN, shield=True):
                await self._keep(cluster, changes)
                self._changes[cluster] = changes
                await self._serve(laid_over(self._configured, self._changes), "users changed")
                is_done = True
        except ConflictError:
            is_done = True
            raise
        except (StoreUnavailableError, ValueError) as error:
            raise UserChangeError(f"the change cannot be kept: {error}") from error
        except ServeError as error:
            raise UserChangeError(str(error)) from error
        finally:
            if not is_done:
                await self._undo(cluster, before)
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

    async def _keep(self, cluster: str, changes: Changes) -> None:
        if cluster not in self._files:
            await self._notes.keep(cluster, changes)

    async def _undo(self, cluster: str, before: dict[str, Change]) -> None:
        self._changes[cluster] = before
        with trio.move_on_after(UNDO_WITHIN, shield=True):
            try:
                await self._keep(cluster, before)
            except ConflictError:
                return  # somebody else has changed them since
            except StoreUnavailableError as error:
                log.warning("a change of users that failed may come back at the next start", why=str(error))


def has_file(settings: ClusterSettings) -> bool:
    """Whether a cluster's users are read from a file of their own, in which changes are saved."""
    access = settings.config.access
    return access is not None and access.users_file is not None
