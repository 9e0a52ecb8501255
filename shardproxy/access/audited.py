"""Logins and refusals in the audit log, as the data plane tells of them."""

from __future__ import annotations

from shardproxy.access.audit import Audit
from shardproxy.access.events import Listener


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
