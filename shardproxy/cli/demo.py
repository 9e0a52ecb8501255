"""`shardproxy demo`: a real local fleet, the proxy in front of it, and a table of both.

Owns the fleet's and the proxy's life: whatever ends it, no process and no file is left.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal, TextIO, cast

import trio
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.markup import escape

from shardproxy.app import Serving, StartError, run_app
from shardproxy.cli.demo_caching import how_to_cache, run_caching_tour, shop_create, shop_rules
from shardproxy.cli.demo_failover import run_accident
from shardproxy.cli.demo_memcached import run_memcached_tour
from shardproxy.cli.demo_table import wait_in_step, watch_table
from shardproxy.cli.demo_tour import run_tour
from shardproxy.cli.logs import logs_configure
from shardproxy.config import Config, Log, LogLevel
from shardproxy.fleet import EngineError, Fleet, open_fleet
from shardproxy.fleet.ports import is_free
from shardproxy.model import Address, Engine

HOST = "127.0.0.1"
ADMIN_PORT = 9700
PORT = 11211  # of the memcached endpoint
NODES = 3  # of memcached
PORTS_TRIED = 100
PLAIN_WIDTH = 110  # columns, where there is no terminal to ask
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Choice = Literal["redis", "memcached", "both"]


async def demo(
    *,
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65535))] = 7000,
    shards: Annotated[int, Parameter(validator=Number(gte=1, lte=16))] = 3,
    replicas: Annotated[int, Parameter(validator=Number(gte=0, lte=5))] = 1,
    engine: Choice = "both",
    caching: Annotated[bool, Parameter(negative="")] = False,
    check: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Start a local fleet of engine processes and the proxy in front of it.

    Shows how to connect and what each node does, until Ctrl-C; then nothing is left of it.

    Parameters
    ----------
    port
        Where the proxy listens; the next free port when this one is taken.
    shards
        How many shards, each with a primary.
    replicas
        How many replicas each shard has.
    engine
        What to start: redis on `port`; memcached, three nodes, on port 11211 or the next free one; both.
    caching
        Put a small shop in SQLite behind the Redis cluster: products are loaded when they are asked for,
        orders are written through.
    check
        Take a short tour with a client instead, and exit with 0 when all went well, else 1.
    """
    console = demo_console()
    # Warnings only: the table tells the rest. The tour tells all, and has an accident on purpose.
    logs_configure(
        Log(level=LogLevel.ERROR if check else LogLevel.WARNING), cast("TextIO", ConsoleLog(console))
    )
    code = 1 if check else 0  # of an interrupted run
    try:
        with trio.open_signal_receiver(*SIGNALS) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_on_signal, signals, nursery.cancel_scope)
                async with open_fleets(engine, shards, replicas) as fleets:
                    ports = dict[Engine, int]()
                    for kind in fleets:
                        wanted = port if kind is Engine.REDIS else PORT
                        ports[kind] = chosen_port(wanted, console, ports.values())
                    admin = Address(HOST, chosen_port(ADMIN_PORT, console, ports.values()))
                    shop = shop_of(fleets) if caching else None
                    config = demo_config(fleets, ports, admin, shop)
                    async with open_proxy(config):
                        if Engine.REDIS in fleets:
                            await wait_in_step(config.topologies()[0].shards)
                        if check:
                            code = await tours(fleets, ports, config, shop, console)
                        else:
                            await show(fleets, ports, config, shop, console)
                nursery.cancel_scope.cancel()
    except* (EngineError, StartError) as group:
        for error in leaves(group):
            console.print(f"[red]shardproxy demo:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        code = 1
    except* SystemExit:  # rich's, when nobody reads what is printed any more
        code = 1
    if not check:
        console.print("Stopped; no process and no file is left.")
    return code


@asynccontextmanager
async def open_proxy(config: Config) -> AsyncIterator[None]:
    """Serve from this process for as long as the block lasts; end the block when the proxy ends."""
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[Serving]) -> None:
            await run_app(config, task_status=task_status)  # until a signal: it takes them while it runs
            nursery.cancel_scope.cancel()

        await nursery.start(serve)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_fleets(engine: Choice, shards: int, replicas: int) -> AsyncIterator[dict[Engine, Fleet]]:
    """Start the fleet of each engine that is asked for."""
    async with AsyncExitStack() as stack:
        fleets = {}
        if engine != "memcached":
            fleets[Engine.REDIS] = await stack.enter_async_context(open_fleet(shards, replicas, managed=True))
        if engine != "redis":
            fleets[Engine.MEMCACHED] = await stack.enter_async_context(open_fleet(NODES, 0, Engine.MEMCACHED))
        yield fleets


def shop_of(fleets: Mapping[Engine, Fleet]) -> Path:
    """Make the database of the shop, which goes with the fleet."""
    if Engine.REDIS not in fleets:
        raise StartError("--caching needs the Redis cluster: leave out --engine memcached")
    shop = fleets[Engine.REDIS].directory / "shop.db"
    shop_create(shop)
    return shop


async def tours(
    fleets: Mapping[Engine, Fleet],
    ports: Mapping[Engine, int],
    config: Config,
    shop: Path | None,
    console: Console,
) -> int:
    """Take the tour of every engine; return the exit code."""
    code = 0
    if Engine.REDIS in fleets:
        address = Address(HOST, ports[Engine.REDIS])
        code |= await run_tour(address, config.topologies()[0], console)
        if shop is not None:
            code |= await run_caching_tour(address, config.admin, shop, console)
        if all(shard.replicas for shard in fleets[Engine.REDIS].shards):
            code |= await run_accident(address, config.admin, fleets[Engine.REDIS], console)
    if Engine.MEMCACHED in fleets:
        address = Address(HOST, ports[Engine.MEMCACHED])
        code |= await run_memcached_tour(address, fleets[Engine.MEMCACHED].nodes, console)
    return code


async def show(
    fleets: Mapping[Engine, Fleet],
    ports: Mapping[Engine, int],
    config: Config,
    shop: Path | None,
    console: Console,
) -> None:
    """Say how to connect, and show the nodes until a signal."""
    if Engine.MEMCACHED in fleets:
        console.print(how_to_connect_memcached(ports[Engine.MEMCACHED], config), highlight=False)
    if Engine.REDIS in fleets:
        console.print(how_to_connect(ports[Engine.REDIS], config), highlight=False)
        if shop is not None:
            console.print(how_to_cache(ports[Engine.REDIS], shop), highlight=False)
        await watch_table(config.topologies()[0].shards, console, in_a_line(ports, config))
    else:
        await trio.sleep_forever()


def demo_config(
    fleets: Mapping[Engine, Fleet], ports: Mapping[Engine, int], admin: Address, shop: Path | None = None
) -> Config:
    clusters: dict[str, dict[str, object]] = {}
    for kind, fleet in fleets.items():
        cluster: dict[str, object] = {
            "engine": kind.value,
            "endpoints": {"configuration": f"{HOST}:{ports[kind]}"},
        }
        if kind is Engine.REDIS:
            clusters["demo"] = {**cluster, "replication": "managed", "shards": fleet.config_shards()}
            if shop is not None:
                clusters["demo"]["caching"] = shop_rules(shop)
        else:
            clusters["pages"] = {**cluster, "nodes": fleet.config_nodes()}
    state = next(iter(fleets.values())).directory / "state.json"
    return Config.model_validate({"admin": str(admin), "state": str(state), "clusters": clusters})


def chosen_port(wanted: int, console: Console, others: Collection[int] = ()) -> int:
    """The port, or the first free one after it that is none of the others, said aloud."""
    for port in range(wanted, min(wanted + PORTS_TRIED, 65536)):
        if port not in others and is_free(HOST, port):
            if port != wanted:
                console.print(f"Port {wanted} is taken: using {port}.", highlight=False)
            return port
    raise StartError(f"no free port from {wanted} on; choose another with --port")


def in_a_line(ports: Mapping[Engine, int], config: Config) -> str:
    """What stays in sight, where the rest has scrolled away."""
    said = {Engine.REDIS: "redis-cli -p {}", Engine.MEMCACHED: f"nc {HOST} {{}}"}
    ways = [text.format(ports[engine]) for engine, text in said.items() if engine in ports]
    return "   ".join((*ways, f"http://{config.admin}", "Ctrl-C"))


def how_to_connect(port: int, config: Config) -> str:
    return f"""
[bold]One endpoint, many shards.[/] Connect any Redis client to [bold]{HOST}:{port}[/]:

    redis-cli -p {port} set greeting hello
    redis-cli -c -p {port}                                  as a cluster client
    redis-benchmark -p {port} -t get,set -n 200000 -P 16 -q

Status and metrics: http://{config.admin} - stop with Ctrl-C.
"""


def how_to_connect_memcached(port: int, config: Config) -> str:
    return f"""
[bold]One endpoint, many nodes.[/] Connect any memcached client to [bold]{HOST}:{port}[/]:

    printf 'set greeting 0 0 5\\r\\nhello\\r\\nget greeting\\r\\nquit\\r\\n' | nc {HOST} {port}
    python -c "from pymemcache import Client; print(Client('{HOST}:{port}').stats())"

Status and metrics: http://{config.admin} - stop with Ctrl-C.
"""


class ConsoleLog:
    """A stream for log lines that keeps them out of the live table's way."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> int:
        if line := text.rstrip("\n"):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        self._console.file.flush()

    def isatty(self) -> bool:
        return self._console.is_terminal


def demo_console() -> Console:
    """As wide as the terminal, or wide enough for the table."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


async def cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    """For the time before and after the proxy runs, which takes signals itself."""
    async for _ in signals:
        scope.cancel()


def leaves(group: BaseExceptionGroup[Exception]) -> list[BaseException]:
    """The errors in a group, however deep."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
