"""Writes table.json, docs.json and help.json: what a live engine says of its commands, with our routes.

Run `python -m shardproxy.commands.generate` after a change of routes.toml or of the engine's version; it
starts a `redis-server` of its own. Knows nothing of how commands are served.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hiredis

from shardproxy.wire.resp import encode

HERE = Path(__file__).parent
ROUTES = (
    "local", "offload", "any", "transaction", "pubsub", "block", "database", "later", "split", "refused",
    "restricted",
)  # beside "shard"  # fmt: skip
START_DEADLINE = 10.0  # seconds for the engine to listen


class RouteError(Exception):
    """routes.toml does not fit the engine's commands; the text says where."""


@contextlib.contextmanager
def engine_running(program: str) -> Iterator[Path]:
    """Run one engine on a unix socket in a directory of its own; yield the socket's path.

    It runs as a Redis Cluster's node, or it would not give CLUSTER HELP.
    """
    with tempfile.TemporaryDirectory(prefix="shardproxy-") as directory:
        path = Path(directory) / "engine.sock"
        options = {"unixsocket": str(path), "dir": directory, "save": "", "cluster-enabled": "yes"}
        ports = {"bind": "127.0.0.1", "port": str(free_port()), "cluster-port": str(free_port())}
        arguments = [word for name, value in {**options, **ports}.items() for word in (f"--{name}", value)]
        process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + START_DEADLINE
            while not path.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{program} did not start listening on {path}")
                time.sleep(0.02)
            yield path
        finally:
            process.terminate()
            process.wait(START_DEADLINE)


def free_port() -> int:
    """A port of loopback nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def engine_ask(path: Path, *requests: tuple[str, ...]) -> list[Any]:
    """Send requests over one RESP3 connection; return the replies, decoded."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(START_DEADLINE)
        sock.connect(str(path))
        sock.sendall(b"".join(encode(*r) for r in (("HELLO", "3"), *requests)))
        reader = hiredis.Reader(encoding="utf-8")
        replies: list[Any] = []
        while len(replies) <= len(requests):
            data = sock.recv(1 << 16)
            if not data:
                raise RuntimeError("the engine closed the connection")
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if isinstance(reply, hiredis.HiredisError):
                    raise reply
                replies.append(reply)
    return replies[1:]


class Routes:
    """routes.toml, as lookups by full name."""

    def __init__(self, overlay: dict[str, Any]) -> None:
        self.extra: dict[str, dict[str, Any]] = overlay["extra"]
        self.keys: dict[str, str] = overlay["keys"]
        self.joins: dict[str, str] = overlay["split"]
        self.notes: dict[str, str] = overlay["refused"] | overlay["restricted"] | overlay["partly"]
        self.restricted = frozenset(overlay["restricted"])
        self.slow = frozenset(overlay["slow"])
        self._routes: dict[str, str] = {}
        for route in ROUTES:
            for name in overlay[route]:
                if name in self._routes:
                    raise RouteError(f"{name!r} is both {self._routes[name]} and {route}")
                self._routes[name] = "refused" if route == "restricted" else route

    def route_of(self, name: str, has_keys: bool, is_container: bool) -> str:
        if name in self._routes:
            return self._routes[name]
        if has_keys:
            return "shard"
        if is_container or name.endswith("|help"):
            return "offload"
        raise RouteError(f"{name!r} has no keys and no route: name it in routes.toml")

    def check_names(self, known: set[str]) -> None:
        """Raise RouteError for a name the engine does not have."""
        unknown = (self._routes.keys() | self.keys.keys() | self.slow) - known
        if unknown:
            raise RouteError(f"the engine has no command {', '.join(sorted(unknown))}")


def entry_of(raw: list[Any], routes: Routes) -> dict[str, Any]:
    """One command of COMMAND's reply, with its route, in the table's form."""
    name, arity, flags, first, last, step, categories, tips, key_specs, subcommands = raw
    entries = [entry_of(sub, routes) for sub in subcommands]
    if name in {n.partition("|")[0] for n in routes.extra}:
        entries += [extra_entry(n, e, routes) for n, e in routes.extra.items() if n.startswith(f"{name}|")]
    keys = routes.keys.get(name, "range" if first else "none")
    entry = {
        "name": name,
        "arity": arity,
        "flags": list(flags),
        "first": first,
        "last": last,
        "step": step,
        "categories": list(categories),
        "tips": list(tips),
        "key_specs": key_specs,
        "route": routes.route_of(name, keys != "none", bool(entries)),
        "keys": keys,
        "join": routes.joins.get(name),
        "note": routes.notes.get(name),
        "subcommands": sorted(entries, key=lambda e: str(e["name"])),
    }
    if name in routes.restricted:
        entry["restricted"] = True
    if name in routes.slow:
        entry["slow"] = True
    return entry


def extra_entry(name: str, extra: dict[str, Any], routes: Routes) -> dict[str, Any]:
    """A command the engine lacks and the proxy answers itself."""
    return entry_of([name, extra["arity"], extra["flags"], 0, 0, 0, extra["categories"], [], [], []], routes)


def table_of(version: str, commands: list[Any], routes: Routes) -> dict[str, Any]:
    entries = sorted((entry_of(raw, routes) for raw in commands), key=lambda e: str(e["name"]))
    routes.check_names({n["name"] for e in entries for n in (e, *e["subcommands"])})
    return {"engine": "redis", "version": version, "commands": entries}


def table_text(table: dict[str, Any]) -> str:
    """The table as JSON, one command a line, so that a change shows as a small diff."""
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in table["commands"])
    head = json.dumps({"engine": table["engine"], "version": table["version"]}, separators=(",", ":"))
    return f'{head.removesuffix("}")},"commands":[\n{lines}\n]}}\n'


def docs_text(docs: dict[str, Any]) -> str:
    for entry in docs.values():
        if "subcommands" in entry:  # an engine lists them in an order that changes with its hash seed
            entry["subcommands"] = dict(sorted(entry["subcommands"].items()))
    return lines_text(docs)


def lines_text(values: dict[str, Any]) -> str:
    """An object as JSON, one entry a line, sorted."""
    lines = ",\n".join(
        f"{json.dumps(name)}:{json.dumps(values[name], separators=(',', ':'))}" for name in sorted(values)
    )
    return f"{{\n{lines}\n}}\n"


def generate(program: str) -> dict[str, str]:
    """Ask a fresh engine; return the text of each generated file by its name."""
    with engine_running(program) as path:
        hello, commands, docs = engine_ask(path, ("HELLO", "3"), ("COMMAND",), ("COMMAND", "DOCS"))
        containers = sorted(name for name, *_, subs in commands if any(s[0] == f"{name}|help" for s in subs))
        helps = engine_ask(path, *((container, "HELP") for container in containers))
    routes = Routes(tomllib.loads((HERE / "routes.toml").read_text()))
    return {
        "table.json": table_text(table_of(hello["version"], commands, routes)),
        "docs.json": docs_text(docs),
        "help.json": lines_text(dict(zip(containers, helps, strict=True))),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the JSON files of this directory.")
    parser.add_argument("--engine", default="redis-server", help="the program to ask")
    parser.add_argument("--check", action="store_true", help="write nothing, say what is stale")
    options = parser.parse_args()
    if shutil.which(options.engine) is None:
        print(f"{options.engine} is not installed", file=sys.stderr)
        return 1
    stale = 0
    for name, text in generate(options.engine).items():
        target = HERE / name
        if target.exists() and target.read_text() == text:
            continue
        stale += 1
        if options.check:
            print(f"{target} is not what {options.engine} and routes.toml give", file=sys.stderr)
        else:
            target.write_text(text)
            print(f"wrote {target}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
