"""Opens the store that a config names: the state file, or one that proxies share."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import structlog

from shardproxy.config import Config, RedisCluster
from shardproxy.config.store import Membership
from shardproxy.store.interface import Store
from shardproxy.store.local import LocalStore, StateFileError
from shardproxy.store.local.link import Link
from shardproxy.store.place import state_path

KEPT = ".kept"  # beside where the state file would be: what was read of a shared store last

log = structlog.get_logger()


class StoreOpeningError(Exception):
    """Why there is no store, and what to do about it."""


@contextlib.asynccontextmanager
async def store_opened(
    config: Config, config_path: Path | None, *, member: str, before: Link | None = None, twin: str = ""
) -> AsyncIterator[Store]:
    """The store of this process, which is called `member` in it; raise StoreOpeningError.

    A state file is that of the process before, which is called `twin`, until that lets go of it.
    """
    if config.store is not None:
        yield _shared(config, config_path, member)
        return
    with _local(config, config_path, member, before, twin) as store:
        yield store


def _shared(config: Config, config_path: Path | None, member: str) -> Store:
    """One of several proxies': others may run with the same config on this machine, so nothing is locked."""
    assert config.store is not None
    path = store_path(config, config_path)
    keep = path.with_name(path.name + KEPT) if path is not None else None
    is_follower = config.store.membership is Membership.FOLLOWER
    directory = config.source.directory
    store: Store
    if config.store.etcd is not None:
        from shardproxy.store.etcd import EtcdStore

        store = EtcdStore(
            config.store.etcd, member=member, is_follower=is_follower, keep=keep, directory=directory
        )
    else:
        from shardproxy.store.kubernetes import KubernetesStore  # type: ignore[import-not-found,unused-ignore]

        store = KubernetesStore(
            config.store.kubernetes, member=member, is_follower=is_follower, keep=keep, directory=directory
        )
    return store


@contextlib.contextmanager
def _local(
    config: Config, config_path: Path | None, member: str, before: Link | None, twin: str
) -> Iterator[LocalStore]:
    """The state file; one that goes with the process where nothing needs to be remembered."""
    with contextlib.ExitStack() as stack:
        path = store_path(config, config_path)
        try:
            if path is not None:
                store = stack.enter_context(LocalStore(path, member, before=before, twin=twin))
                log.info("state", file=str(path))
        except StateFileError as error:
            if any(isinstance(cluster, RedisCluster) for cluster in config.clusters.values()):
                raise StoreOpeningError(
                    f"the state file: {error}, or name another file with state:"
                ) from error
            path = None
        if path is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="shardproxy-state-"))
            store = stack.enter_context(LocalStore(Path(directory) / "state.json", member))
        yield store


def store_path(config: Config, config_path: Path | None) -> Path | None:
    if config.state is not None:
        return Path(config.state)
    return state_path(config_path) if config_path is not None else None
