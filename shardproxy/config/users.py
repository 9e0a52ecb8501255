"""All users of a cluster, wherever they stand: with the cluster, in its file, in its groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path as File

from pydantic import ValidationError

from shardproxy.config.access import MAX_USERS, Password, User, Users
from shardproxy.config.base import Section
from shardproxy.config.checks import Path
from shardproxy.config.clusters import Cluster, MemcachedCluster
from shardproxy.config.document import read_document
from shardproxy.config.errors import ConfigError, Problem
from shardproxy.config.explain import explain
from shardproxy.config.files import FilesRead
from shardproxy.config.loading import read_text
from shardproxy.config.root import Config
from shardproxy.config.source import Source

_NOT_OF_MEMCACHED = ("iam", "external")
_SHAPE = "as in: - {name: app, passwords: [{sha256: ...}]}"


class UsersError(Exception):
    """Users that cannot be served: all that is wrong with them, which may stand in several files."""

    def __init__(self, problems: Iterable[tuple[Source, Problem]]) -> None:
        self.reasons = tuple(dict.fromkeys(problem.text(source.name) for source, problem in problems))
        super().__init__("\n".join(self.reasons))


@dataclass(frozen=True, slots=True)
class PlacedUser:
    """A user, and where it stands."""

    user: User
    source: Source
    path: Path

    def problem(self, path: Path, message: str, hint: str | None = None) -> tuple[Source, Problem]:
        """Something wrong with it, at that path from its own."""
        return self.source, self.source.problem((*self.path, *path), message, hint)


class _UsersFile(Section):
    users: Users


def read_users_file(path: File) -> tuple[PlacedUser, ...]:
    """Read a file of users; raise ConfigError with every problem in it."""
    document = read_document(read_text(path))
    source = Source(str(path), document)
    problems = list(document.problems)
    users: tuple[User, ...] = ()
    if isinstance(document.value, list):
        try:
            users = _UsersFile.model_validate({"users": document.value}).users
        except ValidationError as e:
            problems += explain(e, document, _UsersFile)
    elif document.value is not None:
        problems.append(source.problem((), "must be a list of users at the top", _SHAPE))
    if problems:
        raise ConfigError(source.name, problems)
    return tuple(PlacedUser(user, source, (i,)) for i, user in enumerate(users))


def users_placed(config: Config, name: str, files: FilesRead) -> tuple[PlacedUser, ...]:
    """Find the users of a cluster; raise UsersError, or ConfigError where their file is wrong in itself."""
    cluster, path = config.clusters[name], ("clusters", name)
    if isinstance(cluster, MemcachedCluster) and (auth := cluster.client_auth) is not None:
        password = Password(file=auth.password.file, env=auth.password.env)
        user = User(name=auth.username or "", passwords=(password,))
        return (PlacedUser(user, config.source, (*path, "client_auth")),)
    access = cluster.access
    if access is None or not access.asks_login:
        return ()
    where: Path = (*path, "access")
    found = _listed(config, (*where, "users"), access.users)
    if access.users_file is not None:
        found += read_users_file(files.note(access.users_file))
    problems = []
    numbers = {group.name: i for i, group in enumerate(config.groups)}
    for i, group in enumerate(access.groups):
        if group in numbers:
            number = numbers[group]
            found += _listed(config, ("groups", number, "users"), config.groups[number].users)
        else:
            hint = f"known: {', '.join(numbers)}" if numbers else "list it under groups: at the top"
            problem = config.source.problem((*where, "groups", i), f"there is no group {group}", hint)
            problems.append((config.source, problem))
    problems += _faults(found, name, cluster)
    if problems:
        raise UsersError(problems)
    return tuple(found)


def _listed(config: Config, path: Path, users: Iterable[User]) -> list[PlacedUser]:
    return [PlacedUser(user, config.source, (*path, i)) for i, user in enumerate(users)]


def _faults(found: list[PlacedUser], name: str, cluster: Cluster) -> Iterator[tuple[Source, Problem]]:
    """What is wrong with users in this cluster, if not in themselves."""
    access, seen = cluster.access, dict[str, PlacedUser]()
    for placed in found:
        user = placed.user
        if (first := seen.setdefault(user.name, placed)) is not placed:
            source, where = first.problem(("name",), "")
            message = f"{user.name!r} is a user of cluster {name} already"
            yield placed.problem(("name",), message, f"the first is in {source.name}, line {where.line}")
        if isinstance(cluster, MemcachedCluster):
            key = next((k for k in _NOT_OF_MEMCACHED if getattr(user, k) not in (None, False)), None)
            if key is not None:
                yield placed.problem((key,), f"memcached knows no {key}", f"leave out {key}")
            continue
        if user.iam and (access is None or access.iam is None):
            hint = f"add iam: {{keys: ..., region: ...}} to the access of cluster {name}"
            yield placed.problem(("iam",), "nothing says how IAM tokens are verified", hint)
        if user.external and (access is None or access.verifier is None):
            hint = f"add verifier: {{url: ...}} to the access of cluster {name}"
            yield placed.problem(("external",), "nothing says who is asked about passwords", hint)
    if len(found) > MAX_USERS:
        message = f"cluster {name} has {len(found)} users, at most {MAX_USERS} are possible"
        yield found[MAX_USERS].problem(("name",), message)
