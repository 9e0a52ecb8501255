"""Logins and refusals in the audit log, as the data plane tells of them."""

from __future__ import annotations

from collections.abc import Callable

import trio

from shardproxy.access.audit import Audit
from shardproxy.access.events import Listener

LOSSES_EVERY = 10.0  # seconds


async def run_access_audit(listener: Listener, audit: Audit) -> None:
    """Note every event, until there are no more."""
    async for event in listener.events:
        audit.note(
            event.kind,
            cluster=event.cluster,
            endpoint=event.endpoint,
            client=event.client_id,
            address=event.address,
            user=event.user,
            why=event.why,
            object=event.object.decode("utf-8", "backslashreplace"),
            context=event.context,
        )


async def run_loss_audit(lost: Callable[[], int], audit: Audit) -> None:
    """Have it noted how many events came too fast to be told, until cancelled."""
    noted = 0
    while True:
        await trio.sleep(LOSSES_EVERY)
        if (now := lost()) > noted:
            audit.miss(now - noted)  # more came at once than are told one by one
            noted = now
