"""What is asked for when a backup is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shardproxy.archive.manifest import Origin
from shardproxy.archive.names import automatic_time, why_not_a_name
from shardproxy.archive.places import why_not_a_place
from shardproxy.jobs.allowed import Allowed
from shardproxy.jobs.interface import JobError

KNOWN = ("name", "to", "origin", "fence")


@dataclass(frozen=True, slots=True)
class Wants:
    """One backup that somebody wants."""

    name: str
    to: str | None = None  # a place; None = the configured one
    origin: Origin = Origin.MANUAL
    fence: bool = True  # all shards at one moment, writes waiting for it

    @classmethod
    def read(cls, cluster: str, values: Mapping[str, Any]) -> Wants:
        """Raise JobError that says what is wrong."""
        if unknown := sorted(set(values) - set(KNOWN)):
            raise JobError(f"a backup knows no {unknown[0]}")
        name, to, fence = values.get("name"), values.get("to"), values.get("fence", True)
        if not isinstance(name, str) or not isinstance(fence, bool) or not isinstance(to, str | None):
            raise JobError("a backup needs a name, and to: is a directory or s3://...")
        try:
            origin = Origin(values.get("origin", Origin.MANUAL.value))
        except ValueError:
            raise JobError(
                f"a backup's origin is manual, automatic or final, not {values['origin']}"
            ) from None
        if origin is Origin.AUTOMATIC:
            why = (
                None if automatic_time(cluster, name) is not None else f"{name} is no scheduled backup's name"
            )
        else:
            why = why_not_a_name(name)
        why = why or (why_not_a_place(to) if to is not None else None)
        if why is not None:
            raise JobError(why)
        return cls(name, to, origin, fence)

    def check(self, allowed: Allowed) -> Wants:
        """The same; raise JobError where it names a place that jobs may not use."""
        if self.to is not None:
            allowed.check_place(self.to)
        return self

    def json(self) -> dict[str, Any]:
        """As it is asked for."""
        return {"name": self.name, "to": self.to, "origin": self.origin.value, "fence": self.fence}
