"""`shardproxy check`: a config file is right, or here is all that is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from shardproxy.cli.check_open import left_open
from shardproxy.cli.check_sources import NOT_TRIED, sources_wrong
from shardproxy.config import Config, ConfigError, MemcachedCluster, RedisCluster, load_config
from shardproxy.config.endpoints import Mode
from shardproxy.config.topology import FromRedisCluster
from shardproxy.failover.setup import ShardSetup
from shardproxy.store.peek import records_read
from shardproxy.store.place import state_path
from shardproxy.topology.assign import Records
from shardproxy.topology.delegated import setups_of
from shardproxy.topology.slots import slots_differ
from shardproxy.topology.taking import GROWN_TEXT, left_text, shards_left

Output = Annotated[Literal["table", "json"], Parameter(help="A table for people, or JSON for programs.")]
NODES_ARE_ASKED = (
    "clients that ask the nodes for the layout, as ElastiCache's for Java does, need mode: proxy:"
    " memcached does not know it"
)
ASK_TIMEOUT = 5.0  # seconds for a node


def check(
    file: Path | None = None,
    /,
    *,
    state: Path | None = None,
    nodes: bool = False,
    sources: bool = False,
    app: str | None = None,
    saved: Annotated[Path | None, Parameter(name="--file")] = None,
    seconds: Annotated[float, Parameter(validator=Number(gt=0, lte=3600))] = 30,
    shards: Annotated[int, Parameter(validator=Number(gte=2, lte=250))] = 3,
    output: Output = "table",
) -> int:
    """Say whether a config file is right, or what an application would meet on several shards.

    Of a config file: prints what the file describes and exits 0, or prints every problem as FILE:LINE:COLUMN:
    KEY: what is wrong (what to write instead) and exits 1. Connects to nothing and reads no secrets, but with
    --nodes and --sources.

    Where a proxy has served the file before, its state file says which shard owns which slots. A config that
    leaves out a shard with slots is wrong, too; one that has others for a shard is not, and is told so.

    Of an application (--app or --file): listens to the Redis it uses now, by MONITOR, and prints which of its
    commands several shards would refuse or answer otherwise, and which key families would cure that. With a
    config file, by the families it has. Changes nothing; prints keys, never values or passwords. Exits 1 when
    something would be refused. MONITOR costs the server a part of its throughput meanwhile.

    Parameters
    ----------
    file
        The config file, YAML.
    state
        The proxy's state file. Default: where `run` would keep it for that config, if it is there.
    nodes
        Ask the nodes, too, whether they can be served: those of a Redis Cluster only with topology: {from:
        redis-cluster}; and Sentinels whether they know the names. One that does not answer is no mistake.
    sources
        Ask what caching loads from, too: databases prepare every statement and execute none, servers are
        connected to, functions are looked for. One that cannot be reached is a problem.
    app
        The Redis to listen to: redis://[user:password@]host[:port] or unix:///path.
    saved
        What MONITOR printed before, in place of --app.
    seconds
        How long to listen.
    shards
        How many there would be.
    """
    if app is not None or saved is not None:
        from shardproxy.cli.check_app import check_app

        return check_app(file, app, saved, seconds, shards, output)
    if file is None:
        print("shardproxy: check requires an argument: a config FILE, or --app redis://host", file=sys.stderr)
        return 2  # as for any wrong use
    from shardproxy.topology.settings import users_wrong

    try:
        config = load_config(file)
        problems = users_wrong(config)
    except ConfigError as e:
        problems = e.reasons
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
        print(f"{file}: {_count(len(problems), 'problem')}", file=sys.stderr)
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
        for line in _grown(config, records):
            print(f"{file}: {line}", file=sys.stderr)
        return 1
    if nodes and (why := _why_unfit(config)) is not None:
        print(f"{file}: {why}", file=sys.stderr)
        return 1
    if sources and (wrong := sources_wrong(config)):
        print(*wrong, sep="\n", file=sys.stderr)
        print(f"{file}: {_count(len(wrong), 'problem')}", file=sys.stderr)
        return 1
    print(f"{file}: OK")
    for line in _aligned(list(_summary(config))):
        print(f"  {line}")
    for name, cluster in config.clusters.items():
        if isinstance(cluster, MemcachedCluster) and cluster.endpoints.configuration.mode is Mode.DIRECT:
            print(f"  {name}: {NODES_ARE_ASKED}")
    if not sources and any(cluster.caching is not None for cluster in config.clusters.values()):
        print(f"  {NOT_TRIED}")
    for line in (*_grown(config, records), *_differing(config, records), *left_open(config)):
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


def _setups(config: Config, records: Records) -> list[ShardSetup]:
    clusters = ((n, c) for n, c in config.clusters.items() if isinstance(c, RedisCluster))
    return [setup for name, cluster in clusters for setup in setups_of(name, cluster, records)]


def _why_refused(config: Config, records: Records) -> str | None:
    left = shards_left([one for one in _setups(config, records) if one.decider is None], records)
    return left_text(left) or None


def _differing(config: Config, records: Records) -> Iterator[str]:
    """Warn of slots that are not as the config has them."""
    for cluster, text in slots_differ(_setups(config, records), records):
        yield f"{cluster}: {text}"


def _grown(config: Config, records: Records) -> Iterator[str]:
    """Warn of clusters that had one shard when they were last served, and are stricter with more."""
    for name, cluster in config.clusters.items():
        served = [key for key in records if key.cluster == name]
        if isinstance(cluster, RedisCluster) and len(served) == 1 < (cluster.shard_count or 0):
            yield f"{name} had one shard, and may have been one Redis to its clients: {GROWN_TEXT}"


def _why_unfit(config: Config) -> str | None:
    """What the nodes say that keeps them from being served, or why they cannot be asked."""
    import trio

    from shardproxy.commands.table import Table
    from shardproxy.nodes import LinkTimeouts
    from shardproxy.topology.modes import addresses_of, why_foreign
    from shardproxy.topology.settings import SettingsError, settings_read
    from shardproxy.topology.sources.cluster.check import why_no_seed
    from shardproxy.topology.sources.sentinel.check import why_not_known

    try:
        settings = settings_read(config, Table.load().version)
    except SettingsError as error:
        return str(error)
    asked = {name: (of, list(addresses_of(of, name))) for name, of in settings.items()}
    why_unknown = trio.run(why_not_known, settings) or trio.run(why_no_seed, settings)
    return why_unknown or trio.run(why_foreign, asked, LinkTimeouts(ASK_TIMEOUT, ASK_TIMEOUT))


def _summary(config: Config) -> Iterator[tuple[str, ...]]:
    """Describe every cluster by one row."""
    for topology in config.topologies():
        cluster = config.clusters[topology.cluster]
        delegated = cluster.decider if isinstance(cluster, RedisCluster) and cluster.is_delegated else None
        listening = [
            f"{kind.value} {address}" + (" (TLS)" if speaks_tls else "")
            for kind, endpoint, speaks_tls in cluster.listened
            for address in endpoint.addresses
        ]
        yield (
            topology.cluster,
            topology.engine.value,
            _count(len(topology.shards), "shard")
            if not isinstance(delegated, FromRedisCluster)
            else "shards as found",
            _count(len(topology.nodes), "node") if delegated is None else f"nodes from {delegated.source}",
            ", ".join(listening),
        )


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
