"""Has a target know the functions of a source, before keys come that are used with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shardproxy.failover.interfaces import Nodes
from shardproxy.model import Address
from shardproxy.wire.reply import Failure, Reply

TIMEOUT = 5.0  # seconds


class FunctionsError(Exception):
    """A library could not be loaded."""


async def functions_copy(nodes: Nodes, source: Address, target: Address, run_id: str) -> int:
    """Load the libraries that the target lacks, and return how many; raise FunctionsError or NodeFailure.

    One that it has under the same name stays: clients load functions on all shards.
    """
    has, gets = [
        libraries_read((await nodes.request_many(node, [ASK], timeout=TIMEOUT))[0])
        for node in (source, target)
    ]
    missing = [name for name in has if name not in gets]
    for name in missing:
        (reply,) = await nodes.request_many(
            target, [("FUNCTION", "LOAD", has[name])], timeout=TIMEOUT, run_id=run_id
        )
        if isinstance(reply, Failure):
            said = name.decode(errors="replace")
            raise FunctionsError(f"{target} does not take the function library {said}: {reply.text}")
    return len(missing)


ASK = ("FUNCTION", "LIST", "WITHCODE")


def libraries_read(reply: Reply) -> dict[bytes, bytes]:
    """FUNCTION LIST WITHCODE: the code of each library by its name; none where there are no functions."""
    if isinstance(reply, Failure) or not isinstance(reply, Sequence) or isinstance(reply, str | bytes):
        return {}
    found = {}
    for library in reply:
        fields = _fields(library)
        name, code = fields.get(b"library_name"), fields.get(b"library_code")
        if isinstance(name, bytes) and isinstance(code, bytes):
            found[name] = code
    return found


def _fields(library: Reply) -> Mapping[object, object]:
    if not isinstance(library, Sequence) or isinstance(library, str | bytes):
        return {}
    return dict(zip(library[::2], library[1::2], strict=False))
