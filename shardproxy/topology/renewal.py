"""Has the follower serve a new token before the one that nodes are logged in to with is too old."""

from __future__ import annotations

import structlog
import trio

from shardproxy.topology.follower import Follower
from shardproxy.topology.reload import ServeError

LOOK = 15.0  # seconds; a clock that was set, or a machine that slept, is noticed within that

log = structlog.get_logger()


async def run_renewal(follower: Follower) -> None:
    """Keep what is served able to log in, until cancelled."""
    trouble = None
    while True:
        await trio.sleep(LOOK)
        try:
            await follower.renew()
        except ServeError as error:
            if str(error) != trouble:
                why = str(error.cause)
                log.error("logins to nodes not renewed, tried again", cluster=error.cluster, why=why)
            trouble = str(error)
        else:
            trouble = None
