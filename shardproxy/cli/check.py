"""`shardproxy check`: a config file is right, or here is all that is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from shardproxy.config import Config, ConfigError, load_config


def check(file: Path, /) -> int:
    """Say whether a config file is right, or all that is wrong.

    Prints what the file describes and exits 0, or prints every problem as FILE:LINE:COLUMN: KEY: what is
    wrong (what to write instead) and exits 1. Connects to nothing and reads no secrets.

    Parameters
    ----------
    file
        The config file, YAML.
    """
    try:
        config = load_config(file)
    except ConfigError as e:
        print(e, file=sys.stderr)
        print(f"{file}: {_count(len(e.problems), 'problem')}", file=sys.stderr)
        return 1
    print(f"{file}: OK")
    for line in _aligned(list(_summary(config))):
        print(f"  {line}")
    return 0


def _summary(config: Config) -> Iterator[tuple[str, ...]]:
    """Describe every cluster by one row."""
    for topology in config.topologies():
        endpoints = config.clusters[topology.cluster].endpoints.listed
        listening = [
            f"{kind.value} {address}" for kind, endpoint in endpoints for address in endpoint.addresses
        ]
        yield (
            topology.cluster,
            topology.engine.value,
            _count(len(topology.shards), "shard"),
            _count(len(topology.nodes), "node"),
            ", ".join(listening),
        )


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
