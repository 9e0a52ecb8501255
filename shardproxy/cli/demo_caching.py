"""The demo of caching: a shop in SQLite behind the cache, and a tour of what its rules promise.

Products are loaded when they are asked for, orders are written through, and then the database goes away.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import trio
from rich.console import Console
from rich.markup import escape

from shardproxy.cli.demo_tour import TourError, expect
from shardproxy.model import Address
from shardproxy.nodes import NodeError, NodeFailure, NodeLink
from shardproxy.wire.reply import Failure

PRODUCTS = 200
READERS = 100  # of one key at once
TTL, STALE = 3.0, 60.0  # seconds: short, so that a tour sees it pass
PATIENCE = 10.0  # seconds until anything of the tour must have happened
SCHEMA = """
create table products (sku integer primary key, name text not null, price real not null);
create table orders (id integer primary key, item text not null, amount integer not null check (amount > 0));
"""


def shop_create(path: Path) -> None:
    """Make the database."""
    with closing(sqlite3.connect(path)) as shop, shop:
        shop.executescript(SCHEMA)
        rows = [(sku, f"product {sku}", sku * 0.25 + 1) for sku in range(1, PRODUCTS + 1)]
        shop.executemany("insert into products values (?, ?, ?)", rows)


def shop_rules(path: Path) -> dict[str, object]:
    """Say what is cached of it, as a config does."""
    return {
        "sources": {"shop": {"url": f"sqlite:///{path}", "timeout": "1s"}},
        "rules": [
            {
                "match": "product:{sku}",
                "load": {
                    "source": "shop",
                    "sql": "select name, price from products where sku = :sku",
                    "as": "json",
                },
                "ttl": f"{TTL:g}s",
                "missing": "10s",
                "stale": f"{STALE:g}s",
            },
            {
                "match": "order:{id}",
                "load": {
                    "source": "shop",
                    "sql": "select item, amount from orders where id = :id",
                    "as": "json",
                },
                "ttl": "5m",
                "write": {
                    "mode": "through",
                    "upsert": "insert into orders values (:id, :item, :amount) on conflict (id)"
                    " do update set item = excluded.item, amount = excluded.amount",
                    "delete": "delete from orders where id = :id",
                },
            },
        ],
    }


@dataclass(frozen=True, slots=True)
class CachingTour:
    """What every stop may use."""

    proxy: Address
    admin: Address
    shop: Path

    async def loads(self) -> int:
        """How many questions the database has answered."""
        async with httpx.AsyncClient() as client:
            lines = (await client.get(f"http://{self.admin}/metrics")).text.splitlines()
        return sum(
            int(float(line.rsplit(" ", 1)[1]))
            for line in lines
            if line.startswith("shardproxy_cache_loads_total{")
        )

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Ask the database itself."""
        with closing(sqlite3.connect(self.shop)) as shop:
            return shop.execute(sql).fetchall()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Lock the database, so that it answers nobody."""
        with closing(sqlite3.connect(self.shop, isolation_level=None)) as shop:
            shop.execute("pragma locking_mode = exclusive")
            shop.execute("begin exclusive")
            yield
            shop.execute("rollback")


def product(sku: int) -> bytes:
    return f'{{"name":"product {sku}","price":{sku * 0.25 + 1}}}'.encode()


async def stop_load(tour: CachingTour) -> str:
    async with NodeLink(tour.proxy) as link:
        expect("a product", product(7), await link.request("GET", "product:7"))
        before = await tour.loads()
        for _ in range(READERS):
            expect("the same again", product(7), await link.request("GET", "product:7"))
        expect("questions to the database meanwhile", 0, await tour.loads() - before)
        expect("a product that is none", None, await link.request("GET", "product:0"))
        expect("and again", None, await link.request("GET", "product:0"))
        expect("questions to the database for both", 1, await tour.loads() - before)
        names = [f"product:{sku}" for sku in range(10, 20)]
        expect("several", [product(sku) for sku in range(10, 20)], await link.request("MGET", *names))
    return f"what is not in the cache is loaded; {READERS} reads more cost the database nothing"


async def stop_stampede(tour: CachingTour) -> str:
    before, found = await tour.loads(), []

    async def read() -> None:
        async with NodeLink(tour.proxy) as link:
            found.append(await link.request("GET", "product:100"))

    async with trio.open_nursery() as nursery:
        for _ in range(READERS):
            nursery.start_soon(read)
    expect("what the readers found", [product(100)] * READERS, found)
    expect("questions to the database", 1, await tour.loads() - before)
    return f"{READERS} readers of a key that nobody has: 1 question to the database"


async def stop_write(tour: CachingTour) -> str:
    async with NodeLink(tour.proxy) as link:
        order = b'{"item": "product 7", "amount": 2}'
        expect("SET", b"OK", await link.request("SET", "order:1", order))
        expect("the row", [("product 7", 2)], tour.rows("select item, amount from orders"))
        expect("GET", order, await link.request("GET", "order:1"))
        try:
            await link.request("SET", "order:1", b'{"item": "product 7", "amount": -1}')
        except NodeError as error:
            why = error.failure.text
        else:
            raise TourError("the database refused nothing")
        expect("GET after the refusal", order, await link.request("GET", "order:1"))
        expect("DEL", 1, await link.request("DEL", "order:1"))
        expect("rows", [], tour.rows("select * from orders"))
        expect("GET after DEL", None, await link.request("GET", "order:1"))
    return f"SET and DEL reach the database first; what it refuses is not done: {why:.60}"


async def stop_away(tour: CachingTour) -> str:
    async with NodeLink(tour.proxy) as link:
        expect("a product", product(42), await link.request("GET", "product:42"))
        with tour.away():
            with trio.move_on_after(PATIENCE):
                while await left(link, "product:42") > STALE * 1000:  # noqa: ASYNC110  # in the engine
                    await trio.sleep(0.05)
            began = trio.current_time()
            expect("an old product", product(42), await link.request("GET", "product:42"))
            took = trio.current_time() - began
            reply = (await link.request_many([("GET", "product:43")], timeout=PATIENCE))[0]
            if not isinstance(reply, Failure):
                raise TourError(f"a product that nobody has was answered by {reply!r}")
        with trio.move_on_after(PATIENCE):
            while (found := (await link.request_many([("GET", "product:43")]))[0]) != product(43):  # noqa: ASYNC110
                await trio.sleep(0.1)
            return (
                f"while the database is away what is old is served ({took * 1000:.0f} ms), the rest hears:"
                f" {reply.text:.60}; then all goes on"
            )
        raise TourError(f"the database is back, and the reply still {found!r}")


async def left(link: NodeLink, key: str) -> int:
    """How long the engine keeps the key, in milliseconds."""
    reply = await link.request("PTTL", key)
    assert isinstance(reply, int)
    return reply


STOPS: Sequence[Callable[[CachingTour], Awaitable[str]]] = (stop_load, stop_stampede, stop_write, stop_away)


async def run_caching_tour(proxy: Address, admin: Address, shop: Path, console: Console) -> int:
    """Make every stop; return the exit code."""
    failed = 0
    console.print(f"\nA shop in SQLite behind {proxy}:", highlight=False)
    tour = CachingTour(proxy, admin, shop)
    for stop in STOPS:
        try:
            console.print(f"[green]ok[/]      {escape(await stop(tour))}", highlight=False, soft_wrap=True)
        except (TourError, NodeError, NodeFailure) as error:
            failed += 1
            name = stop.__name__.removeprefix("stop_")
            console.print(f"[red]FAILED[/]  {name}: {escape(str(error))}", highlight=False, soft_wrap=True)
    return 1 if failed else 0


def how_to_cache(port: int, shop: Path) -> str:
    return f"""
[bold]A shop behind the cache.[/] In {shop}:

    redis-cli -p {port} get product:7                         loaded, then kept for {TTL:g} s
    redis-cli -p {port} set order:1 '{{"item": "pen", "amount": 2}}'   written through
    sqlite3 {shop} 'select * from orders'
"""
