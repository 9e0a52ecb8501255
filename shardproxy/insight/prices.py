"""Node types, what they hold and what they cost, as a file of the user's says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from shardproxy.config.base import Section
from shardproxy.config.document import read_document
from shardproxy.config.errors import ConfigError
from shardproxy.config.loading import read_text

HOURS = 730  # of a month, as clouds count them
EXAMPLE = "config/node-types.yaml is an example"


class PricesError(Exception):
    """The file cannot be used; the text says why."""


class NodeKind(Section):
    """One node type."""

    memory: Annotated[float, Field(gt=0)]
    """GiB."""
    vcpu: Annotated[int, Field(ge=1)]
    network: Annotated[float, Field(gt=0)]
    """Gbit/s that last; what it may burst to is more."""
    on_demand: Annotated[float, Field(ge=0)] | None = None
    """A node for an hour."""
    reserved: Annotated[float, Field(ge=0)] | None = None
    """The same of one that is paid for a year ahead."""


class Prices(Section):
    """The whole file."""

    currency: Annotated[str, Field(min_length=1, max_length=10)] = "USD"
    as_of: Annotated[str, Field(max_length=40)] = ""
    """When these prices were looked up."""
    source: Annotated[str, Field(max_length=300)] = ""
    reserved_memory: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Part of a node's memory that is not for data: backups and replication need some."""
    node_types: Annotated[dict[str, NodeKind], Field(min_length=1, max_length=1000)]

    def kind(self, name: str) -> NodeKind:
        """Raise PricesError."""
        if (found := self.node_types.get(name)) is None:
            raise PricesError(f"no node type {name}; there is: {', '.join(sorted(self.node_types))}")
        return found


def prices_read(file: Path) -> Prices:
    """Raise PricesError."""
    try:
        document = read_document(read_text(file))
    except ConfigError as error:
        raise PricesError(str(error)) from error
    if document.problems:
        raise PricesError(f"{file}: {document.problems[0].message}")
    try:
        return Prices.model_validate(document.value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PricesError(f"{file}: {where}: {first['msg']}; {EXAMPLE}") from error
