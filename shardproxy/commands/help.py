"""`<CONTAINER> HELP`, as a live engine worded it when the table was generated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import cast

from shardproxy.commands.call import Call, Handler
from shardproxy.commands.table import PACKAGE, lower
from shardproxy.wire.reply import Reply, Simple


@cache
def _texts() -> Mapping[str, list[str]]:
    return cast(
        "Mapping[str, list[str]]", json.loads(resources.files(PACKAGE).joinpath("help.json").read_text())
    )


def container_help(call: Call) -> Reply:
    return [Simple(line) for line in _texts()[lower(call.args[0])]]


HANDLERS: Mapping[str, Handler] = {f"{name}|help": container_help for name in _texts()}
