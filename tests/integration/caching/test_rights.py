"""README and manual name every right that the proxy's user at the nodes needs for caching."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shardproxy.fleet import Fleet
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Config, StartProxy, config_of, wait_until

ROOT = Path(__file__).parents[3]
TEXTS = (ROOT / "README.md", *sorted((ROOT / "shardproxy" / "manual").glob("*.md")))
OpenWire = Callable[..., Wire]
PASSWORD = "secret"
SAID = {
    "watch": r"to watch (`.*?`), to fail over",
    "rules": r"for rules (`.*?`), what makes the",
    "values": r"values \((.*?)\), for `stale`",
    "refresh": r"for `stale` and `refresh_ahead` (`.*?`), and `\+scan` for `invalidate`",
    "through": r"for `mode: through` also (`.*?`);",
    "behind": r"for `mode: behind` (`.*?`); and",
    "near": r"at the nodes needs (`\+client\|tracking \+get .*?`)\. Metrics",
    "tracking": r"at the nodes needs (`\+client\|tracking`, and `\+getrange`) for `NOLOOP`",
}


def rights(*kinds: str) -> list[str]:
    text = re.sub(r"\s+", " ", "".join(text.read_text() for text in TEXTS))
    found: list[str] = []
    for kind in kinds:
        said = re.search(SAID[kind], text)
        assert said is not None, kind
        found += re.findall(r"\+[a-z|]+", said[1])
    return found


def serve(
    start_fleet: StartFleet, start_proxy: StartProxy, allowed: list[str], **cluster: Any
) -> tuple[Fleet, Any]:
    """A proxy whose user at the nodes may do that and no more."""
    fleet = start_fleet(1)
    primary: Any = fleet.shards[0].primary
    assert (
        primary.ask("ACL", "SETUSER", "proxy", "on", f">{PASSWORD}", "~*", "&*", "-@all", *allowed) == b"OK"
    )
    config: Config = config_of(fleet, failover={"enabled": False}, **cluster)
    for one in config["clusters"].values():
        one["node_auth"] = {"username": "proxy", "password": {"env": "NODE_PASSWORD"}}
    return fleet, start_proxy(config, env={"NODE_PASSWORD": PASSWORD})


def denied(fleet: Fleet) -> Any:
    primary: Any = fleet.shards[0].primary
    return [entry[5] for entry in primary.ask("ACL", "LOG")]


def rules_of(path: Path, mode: str) -> Config:
    connection = sqlite3.connect(path)
    connection.execute("create table rows (id text primary key, name text)")
    connection.execute("insert into rows values ('1', 'ann'), ('2', 'bob')")
    connection.commit()
    connection.close()
    source = {"source": "main", "sql": "select name from rows where id = :id"}
    keep = "on conflict (id) do update set name = excluded.name"
    write = {"mode": mode, "delete": "delete from rows where id = :id"}
    text = f"insert into rows (id, name) values (:id, :value) {keep}"
    field = f"insert into rows (id, name) values (:id, :name) {keep}"
    more: dict[str, Any] = {"ttl": "60s", "missing": "30s", "stale": "10s"}
    return {
        "sources": {"main": {"url": f"sqlite:///{path}"}},
        "rules": [
            {"match": "text:{id}", "load": source, "write": {**write, "upsert": text}, **more},
            {
                "match": "hash:{id}",
                "load": {**source, "as": "hash"},
                "write": {**write, "upsert": field},
                **more,
            },
            *(
                {"match": f"{form}:{{id}}", "load": {**source, "as": form}, **more}
                for form in ("list", "set")
            ),
            {
                "match": "zset:{id}",
                "load": {**source, "sql": "select name, 1 from rows where id = :id", "as": "zset"},
                **more,
            },
        ],
    }


@pytest.mark.parametrize("mode", ["through", "behind"])
def test_rules_need_what_the_readme_says(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: OpenWire, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "rows.db"
    caching = rules_of(path, mode)
    # with these clients read and write
    theirs = ("+append", "+hget", "+lrange", "+smembers", "+zrange")
    allowed = [*rights("watch", "rules", "values", "refresh", mode), *theirs]
    fleet, proxy = serve(start_fleet, start_proxy, allowed, caching=caching)
    client = wire(proxy.address())
    assert client.ask("GET", "text:1") == b"ann"
    assert client.ask("HGET", "hash:1", "name") == b"ann"
    assert client.ask("LRANGE", "list:1", 0, -1) == [b"ann"]
    assert client.ask("SMEMBERS", "set:1") == [b"ann"]
    assert client.ask("ZRANGE", "zset:1", 0, -1) == [b"ann"]
    assert client.ask("GET", "text:9") is None
    primary: Any = fleet.shards[0].primary
    assert primary.ask("PEXPIRE", "text:1", 5000) == 1
    assert client.ask("GET", "text:1") == b"ann"
    wait_until(lambda: primary.ask("PTTL", "text:1") > 10_000, "it is refreshed")
    assert client.ask("SET", "text:3", "eve") == b"OK"
    assert client.ask("APPEND", "text:3", "!") == 4
    assert client.ask("HSET", "hash:4", "name", "dan") == 1
    assert client.ask("DEL", "text:2") in (0, 1)
    assert client.ask("EXISTS", "text:1") == 1

    def rows() -> dict[str, str]:
        connection = sqlite3.connect(path)
        try:
            return dict(connection.execute("select id, name from rows"))
        finally:
            connection.close()

    wait_until(lambda: rows() == {"1": "ann", "3": "eve!", "4": "dan"}, "the database has it", timeout=20)
    assert denied(fleet) == []


def test_a_near_cache_and_tracking_need_what_the_readme_says(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: OpenWire
) -> None:
    allowed = [*rights("watch", "near", "tracking"), "+set"]
    fleet, proxy = serve(start_fleet, start_proxy, allowed, near_cache={"memory": "8mb"})
    client, other = wire(proxy.address()), wire(proxy.address())
    assert client.ask("SET", "key", "value") == b"OK"

    def is_kept() -> bool:
        assert all(client.ask("GET", "key") == b"value" for _ in range(10))
        return bool(proxy.metrics()['shardproxy_near_hits_total{cluster="main"}'] > 0)

    wait_until(is_kept, "it is kept", timeout=20)
    other.send_command("HELLO", 3)
    other.reply()
    assert other.ask("CLIENT", "TRACKING", "ON", "NOLOOP") == b"OK"
    assert other.ask("GET", "key") == b"value"
    assert other.ask("SET", "key", "mine") == b"OK"
    assert other.ask("GET", "key") == b"mine"
    assert client.ask("SET", "key", "yours") == b"OK"
    told = other.reply()
    assert b"invalidate" in told
    assert denied(fleet) == []
