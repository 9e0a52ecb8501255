"""COMMAND: what the table knows of commands, in the engines' own form."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any, cast

from shardproxy.commands.call import SYNTAX_ERROR, Call, CommandError, Handler
from shardproxy.commands.shards import pass_any
from shardproxy.commands.table import PACKAGE, Command, Table, lower
from shardproxy.wire.reply import Raw, Reply, SetOf, Simple, reply_encode

SETS_OF_WORDS = ("flags", "doc_flags")  # of COMMAND DOCS: sets of simple strings
SETS = ("history",)


def command(call: Call) -> Reply:
    infos = _infos_encoded(call.table, call.resp)
    head = b"*%d\r\n" % len(call.table.commands)
    return Raw(b"".join((head, *map(infos.__getitem__, call.table.commands))))


@lru_cache(maxsize=4)  # the latest table in both versions of RESP; every cluster client asks for it
def _infos_encoded(table: Table, resp: int) -> Mapping[str, bytes]:
    """What COMMAND INFO says of each command and subcommand."""
    return {command.name: reply_encode(info_of(command), resp) for command in table.all()}


def command_count(call: Call) -> Reply:
    return len(call.table.commands)


def command_info(call: Call) -> Reply:
    if len(call.args) == 2:
        return command(call)
    infos = _infos_encoded(call.table, call.resp)
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
        return [command.name for command in call.table.all()]
    if len(call.args) != 5 or lower(call.args[2]) != "filterby":
        raise CommandError(SYNTAX_ERROR)
    kind, word = lower(call.args[3]), call.args[4]
    if kind == "pattern":
        return await _names_matching(call, word)
    if kind not in FILTERS:
        raise CommandError(SYNTAX_ERROR)
    is_wanted = FILTERS[kind](word)
    return [command.name for command in call.table.all() if is_wanted(command)]


async def _names_matching(call: Call, pattern: bytes) -> Reply:
    names = [command.name.encode() for command in call.table.all()]
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


@lru_cache(maxsize=2)
def _all_docs_encoded(resp: int) -> bytes:
    return reply_encode({name: _doc(doc) for name, doc in _docs().items()}, resp)


def command_docs(call: Call) -> Reply:
    if len(call.args) == 2:
        return Raw(_all_docs_encoded(call.resp))
    docs: dict[str, Reply] = {}
    for word in call.args[2:]:
        name = lower(word)
        container, bar, _ = name.partition("|")
        doc = _docs().get(container)
        if doc is not None and bar:
            doc = doc.get("subcommands", {}).get(name)
        if doc is not None:
            docs[name] = _doc(doc)
    return docs


def _doc(doc: Mapping[str, Any]) -> Reply:
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
            reply[name] = {sub: _doc(value[sub]) for sub in value}
        else:
            reply[name] = value
    return reply


async def command_getkeys(call: Call) -> Reply:
    """GETKEYS and GETKEYSANDFLAGS: the engines know best, their modules' commands included."""
    return await pass_any(call, *call.args)


HANDLERS: Mapping[str, Handler] = {
    "command": command,
    "command|count": command_count,
    "command|docs": command_docs,
    "command|getkeys": command_getkeys,
    "command|getkeysandflags": command_getkeys,
    "command|info": command_info,
    "command|list": command_list,
}
