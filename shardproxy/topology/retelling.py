"""Has the clients of memcached pools told of the proxies as these come and go."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
import trio

from shardproxy.config import MemcachedCluster
from shardproxy.model.board import Board, News
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.member import Member
from shardproxy.store.notes import Note, NoteKey, NoteKind
from shardproxy.topology.fleet import Peers
from shardproxy.topology.follower import Follower
from shardproxy.topology.project import Configured

RETRY = 1.0  # seconds until what could not be told is tried again

log = structlog.get_logger()


async def run_retelling(follower: Follower, members: Board[str, Member]) -> None:
    """Follow the members until cancelled."""
    news = News()
    members.subscribe(news)
    notes = follower.notebook.notes
    notes.subscribe(news)
    told: dict[str, tuple[Peers, Note | None]] = {}
    try:
        while True:
            is_behind = False
            for name, peers in _pools(follower.clusters, follower).items():
                layout = NoteKey(name, NoteKind.LAYOUT)
                if told.get(name) != (peers, notes.get(layout)):
                    is_told = await _tell(follower, name)
                    is_behind |= not is_told
                    if is_told:  # by others too, who may have numbered it anew
                        told[name] = (peers, notes.get(layout))
            with trio.move_on_after(RETRY if is_behind else float("inf")):
                await news.wait()
    finally:
        members.unsubscribe(news)
        notes.unsubscribe(news)


def _pools(clusters: Mapping[str, Configured], follower: Follower) -> dict[str, Peers]:
    return {
        name: follower.peers_of(name)
        for name, configured in clusters.items()
        if isinstance(configured.settings.config, MemcachedCluster)
    }


async def _tell(follower: Follower, name: str) -> bool:
    try:
        await follower.retell(name)
    except (StoreUnavailableError, OSError, ValueError) as error:
        log.info("clients are not told yet of other proxies", cluster=name, why=str(error))
        return False
    return True
