"""`shardproxy check`: a config file is right, or here is all that is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from shardproxy.config import Config, ConfigError, RedisCluster, load_config
from shardproxy.store.peek import records_read
from shardproxy.store.place import state_path
from shardproxy.topology.assign import Records, shards_assign
from shardproxy.topology.taking import slots_taken, taken_text

ASK_TIMEOUT = 2.0  # seconds for all nodes


def check(file: Path, /, *, state: Path | None = None, nodes: bool = False) -> int:
    """Say whether a config file is right, or all that is wrong.

    Prints what the file describes and exits 0, or prints every problem as FILE:LINE:COLUMN: KEY: what is
    wrong (what to write instead) and exits 1. Connects to nothing and reads no secrets, but with --nodes.

    Where a proxy has served the file before, its state file says which shard owns which slots. A config that
    takes slots from one is wrong, too: a proxy refuses it while that shard has keys. Whether it has any is
    not asked here.

    Parameters
    ----------
    file
        The config file, YAML.
    state
        The proxy's state file. Default: where `run` would keep it for that config, if it is there.
    nodes
        Ask the nodes, too, whether they can be served: those of a Redis Cluster cannot. One that does not
        answer is no mistake.
    """
    try:
        config = load_config(file)
    except ConfigError as e:
        print(e, file=sys.stderr)
        print(f"{file}: {_count(len(e.problems), 'problem')}", file=sys.stderr)
        return 1
    try:
        records = _on_record(config, file, state)
    except (OSError, ValueError) as error:
        print(f"{file}: not compared with the state file: {error}", file=sys.stderr)
        if state is not None or isinstance(error, ValueError):
            return 1
        records = {}  # it may be another user's
    if (why := _why_refused(config, records)) is not None:
        print(f"{file}: {why}", file=sys.stderr)
        print(f"{file}: a proxy takes it only if those shards have no keys", file=sys.stderr)
        return 1
    if nodes and (why := _why_unfit(config)) is not None:
        print(f"{file}: {why}", file=sys.stderr)
        return 1
    print(f"{file}: OK")
    for line in _aligned(list(_summary(config))):
        print(f"  {line}")
    return 0


def _on_record(config: Config, file: Path, state: Path | None) -> Records:
    """What a proxy that served the file has on record; nothing where none has."""
    path = state or Path(config.state or state_path(file.resolve()))
    try:
        return records_read(path)
    except FileNotFoundError:
        if state is not None:
            raise
        return {}


def _why_refused(config: Config, records: Records) -> str | None:
    clusters = ((n, c) for n, c in config.clusters.items() if isinstance(c, RedisCluster))
    setups = [setup for name, cluster in clusters for setup in shards_assign(name, cluster, records)]
    taken = slots_taken(setups, records)
    keys = dict.fromkeys((one.loser.key for one in taken), "may have keys")
    return taken_text(taken, setups, records, keys) if taken else None


def _why_unfit(config: Config) -> str | None:
    """What the nodes say that keeps them from being served, or why they cannot be asked."""
    import trio

    from shardproxy.commands.table import Table
    from shardproxy.topology.modes import addresses_of, why_foreign
    from shardproxy.topology.settings import SettingsError, settings_read

    try:
        settings = settings_read(config, Table.load().version)
    except SettingsError as error:
        return str(error)
    asked = {name: (of, list(addresses_of(of, name))) for name, of in settings.items()}
    return trio.run(why_foreign, asked, ASK_TIMEOUT)


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
