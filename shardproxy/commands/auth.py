"""AUTH of users whose logins are verified here. Passwords are the data plane's matter, and never get here.

It hands over AUTH, user and secret, also for HELLO; on OK the client is that user, and the rest of HELLO is
done. Clients hear that a login is wrong, and never why.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from shardproxy.access.verifiers import Accepted, Login
from shardproxy.commands.call import Call, CommandError, Handler
from shardproxy.wire.reply import OK, Reply

WRONGPASS = "WRONGPASS invalid username-password pair or user is disabled."


async def auth(call: Call) -> Reply:
    verifiers = call.verifiers
    if verifiers is None or len(call.args) != 3:
        raise CommandError(WRONGPASS)
    _, user, secret = call.args
    login = Login(call.offload.cluster, user, secret, partial(_address, call))
    verdict = await verifiers.verify(login, call.offload.client_id)
    if not isinstance(verdict, Accepted):
        raise CommandError(WRONGPASS)
    return OK


async def _address(call: Call) -> str:
    """Where the client is connected from; nothing when it has gone meanwhile."""
    clients = await call.dataplane.clients([call.offload.client_id])
    return str(clients[0]["address"]) if clients else ""


HANDLERS: Mapping[str, Handler] = {"auth": auth}
PATIENT = frozenset(HANDLERS)  # a verifier has its own deadline, and holds up no other command
