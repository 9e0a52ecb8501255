"""How far etcd was seen to be: what is behind that is old, or is not what it was. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shardproxy.store.etcd.errors import DataLostError, EtcdUnavailableError
from shardproxy.store.etcd.messages import Header

REMEDY = (
    "restore what it held last; or, when that is gone for good, stop all proxies of this store, move their"
    " files *.kept away, and start them: they adopt the engines' own roles"
)


@dataclass(frozen=True, slots=True)
class Position:
    """The highest that was seen of each; none of them ever goes back."""

    cluster_id: str = ""
    term: int = 0
    revision: int = 0

    def after(self, header: Header, *, is_agreed: bool) -> Position:
        """Whatever has a revision is stored for good; but a member that is cut off makes up its own terms."""
        term = max(self.term, header.term) if is_agreed else self.term
        return Position(header.cluster_id, term, max(self.revision, header.revision))

    def check(self, header: Header, where: str, *, is_agreed: bool) -> None:
        """Look at the answer to a request that was sent when this had been seen.

        `is_agreed`: a quorum stands behind it, so it cannot be old. Raise StoreUnavailableError.
        """
        if self.cluster_id not in ("", header.cluster_id):
            raise DataLostError(
                f"{where} is of etcd cluster {header.cluster_id}, and it was {self.cluster_id}: {REMEDY}"
            )
        if is_agreed and header.revision < self.revision:
            raise DataLostError(
                f"{where} is at revision {header.revision}, and was at {self.revision}: its data was lost or"
                f" replaced by older data, and nothing is taken from it: {REMEDY}"
            )
        if not is_agreed and header.term < self.term:
            raise EtcdUnavailableError(f"{where} does not know of the latest leader of etcd")
