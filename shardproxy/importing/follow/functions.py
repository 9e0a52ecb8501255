"""Carries libraries of functions over: engines copy them with no key."""

from __future__ import annotations

from collections.abc import Sequence

from shardproxy.importing.errors import ForeignError
from shardproxy.model import Address
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks

TIMEOUT = 10.0  # seconds
NOT_THERE = ("unknown command", "NOPERM")  # before 7.0, or not ours to ask


async def functions_copy(
    source: NodeLinks, primary: Address, target: NodeLinks, targets: Sequence[Address]
) -> bool:
    """Give every target the libraries of the source, over those of the same names.

    Say whether the source tells of functions; raise ForeignError where a target does not take them.
    """
    try:
        payload = await source.request(primary, "FUNCTION", "DUMP", timeout=TIMEOUT)
    except NodeError as error:
        if any(word in error.failure.text for word in NOT_THERE):
            return False
        raise ForeignError(f"{primary}: FUNCTION DUMP: {error.failure.text}") from None
    except NodeFailure as error:
        raise ForeignError(f"{primary}: {error.why}") from None
    if not isinstance(payload, bytes):
        raise ForeignError(f"{primary}: FUNCTION DUMP replied {payload!r:.40}")
    for node in targets:
        try:
            await target.request(node, "FUNCTION", "RESTORE", payload, "REPLACE", timeout=TIMEOUT)
        except NodeError as error:
            raise ForeignError(f"{node} does not take the functions: {error.failure.text}") from None
        except NodeFailure as error:
            raise ForeignError(f"{node}: {error.why}") from None
    return True
