"""Every offloaded command's handler, by full name. A family registers here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

from shardproxy.commands import (
    acl,
    admin,
    auth,
    client,
    cluster,
    command,
    config,
    help,
    info,
    keyspace,
    latency,
    memory,
    modules,
    pausing,
    pubsub,
    scripting,
    slowlog,
    wait,
)
from shardproxy.commands.call import Handler
from shardproxy.commands.patience import Patience

FAMILIES = (
    acl,
    admin,
    auth,
    client,
    cluster,
    command,
    config,
    help,
    info,
    keyspace,
    latency,
    memory,
    modules,
    pausing,
    pubsub,
    scripting,
    slowlog,
    wait,
)

CURES = scripting.CURES
HANDLERS: Mapping[str, Handler] = {
    name: handler for family in FAMILIES for name, handler in family.HANDLERS.items()
} | dict(CURES)

PATIENT: Mapping[str, Patience] = {**auth.PATIENT, **wait.PATIENT}

# Refused on the reader endpoint, beside what the table says writes.
CHANGES = frozenset({*admin.HANDLERS, *acl.CHANGES, "script|flush"})
