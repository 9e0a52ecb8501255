"""COMMAND: what the table knows of commands, in the engines' own form and under the names clients use."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any, cast

from shardproxy.commands.call import SYNTAX_ERROR, Call, CommandError, Handler
from shardproxy.commands.names import Names, names_of
from shardproxy.commands.shards import pass_any
from shardproxy.commands.table import PACKAGE, Command, Table, lower
from shardproxy.wire.reply import Raw, Reply, SetOf, Simple, reply_encode

SETS_OF_WORDS = ("flags", "doc_flags")  # of COMMAND DOCS: sets of simple strings
SETS = ("history",)


def command(call: Call) -> Reply:
    table = names_of(call).table
    infos = _infos_encoded(table, call.resp)
    return Raw(b"".join((b"*%d\r\n" % len(table.commands), *map(infos.__getitem__, table.commands))))


@lru_cache(maxsize=16)  # the latest tables in both versions of RESP; every cluster client asks for it
def _infos_encoded(table: Table, resp: int) -> Mapping[str, bytes]:
    """What COMMAND INFO says of each command and subcommand."""
    return {command.name: reply_encode(info_of(command), resp) for command in table.all()}


def command_count(call: Call) -> Reply:
    return len(call.table.commands)


def command_info(call: Call) -> Reply:
    if len(call.args) == 2:
        return command(call)
    infos = _infos_encoded(names_of(call).table, call.resp)
    found = (infos.get(lower(name)) for name in call.args[2:])
    return [Raw(info) if info else None for info in found]


def info_of(command: Command) -> Reply:
    """The ten elements of COMMAND INFO."""
    return [
        command.name,
        command.arity,
        _words(command.flags),
        command.first,
        command.last,
        command.step,
        _words(command.categories),
        SetOf(command.tips),
        SetOf(tuple(_key_spec(spec) for spec in command.key_specs)),
        SetOf(tuple(info_of(sub) for sub in command.subcommands)),
    ]


def _words(words: Sequence[str]) -> SetOf:
    return SetOf(tuple(Simple(word) for word in words))


def _key_spec(spec: Mapping[str, Any]) -> dict[str, Reply]:
    return {name: _words(value) if name == "flags" else value for name, value in spec.items()}


async def command_list(call: Call) -> Reply:
    if len(call.args) == 2:
        return [command.name for command in names_of(call).table.all()]
    if len(call.args) != 5 or lower(call.args[2]) != "filterby":
        raise CommandError(SYNTAX_ERROR)
    kind, word = lower(call.args[3]), call.args[4]
    if kind == "pattern":
        return await _names_matching(call, word)
    if kind not in FILTERS:
        raise CommandError(SYNTAX_ERROR)
    is_wanted = FILTERS[kind](word)
    return [command.name for command in names_of(call).table.all() if is_wanted(command)]


async def _names_matching(call: Call, pattern: bytes) -> Reply:
    names = [command.name.encode() for command in names_of(call).table.all()]
    try:
        return await call.dataplane.glob_filter(pattern, names, ignores_case=True)
    except OverflowError as e:
        raise CommandError(f"ERR {e}") from e


def _filter_category(word: bytes) -> Callable[[Command], bool]:
    category = f"@{lower(word)}"
    return lambda command: category in command.categories


# By the prefix that modules give their commands: COMMAND does not tell whose a command is.
def _filter_module(word: bytes) -> Callable[[Command], bool]:
    prefix = f"{lower(word)}."
    return lambda command: "module" in command.flags and command.name.startswith(prefix)


FILTERS: Mapping[str, Callable[[bytes], Callable[[Command], bool]]] = {
    "aclcat": _filter_category,
    "module": _filter_module,
}


@cache
def _docs() -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(resources.files(PACKAGE).joinpath("docs.json").read_text()))


@lru_cache(maxsize=16)
def _docs_encoded(names: Names, resp: int) -> bytes:
    real = {name: names.real_of(name) or name for name in names.table.commands}
    return reply_encode(
        {name: _doc(_docs()[real[name]], name) for name in real if real[name] in _docs()}, resp
    )


def command_docs(call: Call) -> Reply:
    names = names_of(call)
    if len(call.args) == 2:
        return Raw(_docs_encoded(names, call.resp))
    docs: dict[str, Reply] = {}
    for word in call.args[2:]:
        name = lower(word)
        real = names.real_of(name) or ""
        container, bar, _ = real.partition("|")
        doc = _docs().get(container)
        if doc is not None and bar:
            doc = doc.get("subcommands", {}).get(real)
        if doc is not None:
            docs[name] = _doc(doc, name)
    return docs


def _doc(doc: Mapping[str, Any], command: str = "") -> Reply:
    """Documentation in the shapes an engine gives it, told by the names of its fields."""
    reply: dict[str, Reply] = {}
    for name, value in doc.items():
        if name in SETS_OF_WORDS:
            reply[name] = _words(value)
        elif name in SETS:
            reply[name] = SetOf(tuple(value))
        elif name == "arguments":
            reply[name] = [_doc(argument) for argument in value]
        elif name == "subcommands":
            reply[name] = {f"{command}|{sub.partition('|')[2]}": _doc(value[sub]) for sub in value}
        else:
            reply[name] = value
    return reply


async def command_getkeys(call: Call) -> Reply:
    """GETKEYS and GETKEYSANDFLAGS: the engines know best, their modules' commands included."""
    names = names_of(call)
    if not names.real:
        return await pass_any(call, *call.args)
    real = names.real_of(lower(call.args[2]))
    if real is None:
        raise CommandError("ERR Invalid command specified")
    return await pass_any(call, *call.args[:2], real, *call.args[3:])


HANDLERS: Mapping[str, Handler] = {
    "command": command,
    "command|count": command_count,
    "command|docs": command_docs,
    "command|getkeys": command_getkeys,
    "command|getkeysandflags": command_getkeys,
    "command|info": command_info,
    "command|list": command_list,
}
