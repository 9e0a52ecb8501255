"""The table that comes with the package: complete, consistent, and equal to what generates it."""

from __future__ import annotations

import json

import pytest

from shardproxy.commands import acl, admin, auth, describe, generate, scripting
from shardproxy.commands.handlers import FAMILIES, HANDLERS
from shardproxy.commands.table import Table

TABLE = Table.load()
ROUTES = {"shard", *generate.ROUTES}
PARTLY = {"client|no-touch"}


def test_files_are_what_the_engine_and_the_routes_give() -> None:
    for name, text in generate.generate("redis-server").items():
        assert (generate.HERE / name).read_text() == text, (
            f"{name}: run python -m shardproxy.commands.generate"
        )


def test_every_command_has_a_route() -> None:
    assert len(TABLE.commands) == 240
    for command in TABLE.all():
        assert command.route in ROUTES, command.name
        has_note = command.route == "refused" or command.name in PARTLY
        assert has_note == (command.note is not None), command.name
        assert (command.route == "split") == (command.join is not None), command.name
        if command.route in ("shard", "database", "split") and command.name != "swapdb":
            assert command.keys != "none", command.name


def test_what_may_take_an_engine_seconds_is_known() -> None:
    slow = {command.name for command in TABLE.all() if command.is_slow}
    assert slow >= {
        "eval",
        "fcall",
        "sort",
        "keys",
        "sunionstore",
        "zunion",
        "flushall",
        "del",
        "debug",
        "save",
    }
    assert not [name for name in slow if "fast" in TABLE.get(name).flags]  # type: ignore[union-attr]
    assert not slow & {"get", "set", "exec", "blpop", "lrange", "script|load"}


def test_every_offloaded_command_has_a_handler() -> None:
    offloaded = {c.name for c in TABLE.all() if c.route == "offload" and not c.subcommands} | {"command"}
    allowable = set(admin.HANDLERS) | acl.CHANGES
    assert offloaded == set(HANDLERS) - set(scripting.CURES) - allowable - set(auth.HANDLERS)
    assert {c.name for c in TABLE.all() if c.is_restricted or c.route == "refused"} >= allowable
    handlers = [name for family in FAMILIES for name in family.HANDLERS]
    assert len(handlers) == len(set(handlers)), "one command, two handlers"


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (["GET", "a"], "get"),
        (["client", "LIST"], "client|list"),
        (["client", "nope"], "client"),
        (["client"], "client"),
        (["nope"], None),
        (["\xff"], None),
    ],
)
def test_request_is_found_by_its_words(args: list[str], name: str | None) -> None:
    command = TABLE.find([arg.encode("latin-1") for arg in args])
    assert (command.name if command else None) == name


@pytest.mark.parametrize(
    ("name", "count", "is_right"),
    [("get", 2, True), ("get", 3, False), ("mget", 2, True), ("mget", 9, True), ("mget", 1, False)],
)
def test_arity_counts_the_name(name: str, count: int, is_right: bool) -> None:
    command = TABLE.get(name)
    assert command is not None
    assert command.is_arity(count) is is_right


def test_learning_makes_another_table() -> None:
    entry = {**TABLE._entries["get"], "name": "newget"}
    learned = TABLE.with_command(entry)
    assert TABLE.get("newget") is None
    assert learned.get("newget") is not None
    assert "newget" in [command["name"] for command in json.loads(learned.encode())["commands"]]
    assert Table.parse(learned.encode().decode()).get("newget") == learned.get("newget")


def test_page_of_commands_is_generated_from_the_table() -> None:
    page = generate.HERE / "README.md"
    assert page.read_text() == describe.page(TABLE), (
        "run python -m shardproxy.commands.describe > shardproxy/commands/README.md"
    )
