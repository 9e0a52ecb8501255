"""Why a request to a node came to nothing, by cause."""

from __future__ import annotations

from shardproxy.model import Address
from shardproxy.wire.reply import Failure


class NodeFailure(Exception):  # noqa: N818  # the base of two causes, neither of which the node reported
    """There is no reply; `is_sent` says whether the node may have carried the request out.

    `is_taken`: its host has acknowledged all that was sent, so that it is up whatever ails the node.
    """

    def __init__(self, address: Address, why: str, *, is_sent: bool, is_taken: bool = False) -> None:
        super().__init__(f"node {address}: {why}")
        self.address = address
        self.why = why
        self.is_sent = is_sent
        self.is_taken = is_taken


class NodeUnreachable(NodeFailure):
    """The node cannot be connected to, or it closed the connection, or does not speak RESP."""


class NodeTimeout(NodeFailure):
    """The node did not reply in time."""


class NodeError(Exception):
    """The node replied with an error."""

    def __init__(self, address: Address, failure: Failure) -> None:
        super().__init__(f"node {address}: {failure.text}")
        self.address = address
        self.failure = failure

    @property
    def code(self) -> str:
        """The error's first word: `ERR`, `NOAUTH`, `LOADING` ..."""
        return self.failure.code
