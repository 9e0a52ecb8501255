"""`shardproxy check --app`: what an application's commands would meet on several shards."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import trio
from rich.table import Table as Grid

from shardproxy.advice.cure import Cure
from shardproxy.advice.listen import ListenError, Target, called, invisible, listen, table_of
from shardproxy.advice.study import Group, Report, Study
from shardproxy.cli.ask import console
from shardproxy.commands.table import Table
from shardproxy.config import ConfigError, RedisCluster, load_config

COST = "MONITOR costs this server a part of its throughput, up to half of it, for {seconds:g} s"
SHOWN_PATTERNS = 4
ROWS = 100


def check_app(
    file: Path | None, app: str | None, saved: Path | None, seconds: float, shards: int, output: str
) -> int:
    """Listen, print what was found, and return the exit code."""
    try:
        families = _families(file)
        if app is not None:
            target = Target.parse(app)
            print(COST.format(seconds=seconds), file=sys.stderr)
            answer = trio.run(_listen, target, seconds, shards, families)
        elif saved is not None:
            study = Study(Table.load(), shards, families)
            with saved.open("rb") as lines:
                for line in lines:
                    study.take(line)
            answer = _answer(study.report(), shards, ())
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    except (ListenError, OSError) as error:
        print(f"shardproxy: {error}", file=sys.stderr)
        return 1
    if output == "json":
        print(json.dumps(answer, indent=2))
    else:
        _print(answer)
    return 1 if answer["refused"] else 0


def _families(file: Path | None) -> list[tuple[str, str]]:
    """The families of the config's clusters."""
    if file is None:
        return []
    clusters = [c for c in load_config(file).clusters.values() if isinstance(c, RedisCluster)]
    rules = [rule for cluster in clusters for family in cluster.key_families for rule in family.rules()]
    return [(rule.match, rule.hash) for rule in rules]


async def _listen(
    target: Target, seconds: float, shards: int, families: list[tuple[str, str]]
) -> dict[str, Any]:
    table = await table_of(target, Table.load())
    study = Study(table, shards, families)
    await listen(target, seconds, study)
    return _answer(study.report(), shards, invisible(table, await called(target)))


def _answer(report: Report, shards: int, hidden: Any) -> dict[str, Any]:
    """The report as JSON has it."""
    return {
        "shards": shards,
        "commands": report.commands,
        "refused": report.refused,
        "findings": [_finding(group) for group in report.groups],
        "key_families": _once(family for cure in report.families for family in _families_of(cure)),
        "since_start": [{"command": name, "count": count, "why": why} for name, count, why in hidden],
        "not_looked_at": report.unread + report.uncounted,
        "unknown_commands": list(report.unknown),
    }


def _finding(group: Group) -> dict[str, Any]:
    finding = group.finding
    example = [key.decode(errors="backslashreplace") for key in (group.samples[0] if group.samples else ())]
    return {
        "kind": finding.kind.value,
        "command": finding.command,
        "keys": list(group.patterns),
        "count": group.count,
        "is_refused": finding.is_refused,
        "answer": finding.answer,
        "example": example[:8],
        "key_families": _families_of(group.cure) if group.cure else [],
        "is_one_shards_burden": group.cure is not None and group.cure.is_whole,
        "is_cured_by_all": group.is_cured,
        "advice": group.advice,
    }


def _once(families: Iterable[Any]) -> list[Any]:
    """Without what stands there twice: the first that matches wins."""
    return [json.loads(text) for text in dict.fromkeys(json.dumps(family) for family in families)]


def _families_of(cure: Cure) -> list[Any]:
    if cure.preset is not None:
        return [cure.preset]
    return [{"match": match, "hash": hashed} for match, hashed in cure.rules]


def _print(answer: dict[str, Any]) -> None:
    out = console()

    def say(text: str = "") -> None:
        out.print(text, markup=False, highlight=False, soft_wrap=True)

    refused, shards = answer["refused"], answer["shards"]
    say(f"{answer['commands']} commands heard; {shards} shards would refuse {refused or 'none'} of them")
    if answer["not_looked_at"]:
        say(f"{answer['not_looked_at']} more were not looked at: too many at once, or no lines of MONITOR")
    if answer["findings"]:
        say()
        out.print(_grid(answer["findings"]))
    for hidden in answer["since_start"]:
        name, count, why = hidden["command"], hidden["count"], hidden["why"]
        say(f"{name}, which MONITOR hides, was called {count} times since the server started: refused, {why}")
    if answer["unknown_commands"]:
        say(f"unknown commands, not judged: {', '.join(answer['unknown_commands'])}")
    if answer["key_families"]:
        say()
        _print_families(answer["key_families"], say)


def _grid(findings: list[dict[str, Any]]) -> Grid:
    grid = Grid(box=None, pad_edge=False)
    grid.add_column("count", justify="right")
    for name in ("command", "keys", "on several shards", "cure"):
        grid.add_column(name, overflow="fold")
    for finding in findings[:ROWS]:
        patterns = finding["keys"]
        more = f" … {len(patterns) - SHOWN_PATTERNS} more" if len(patterns) > SHOWN_PATTERNS else ""
        keys = " ".join(patterns[:SHOWN_PATTERNS]) + more
        said = finding["answer"].partition(" Keys in request")[0]
        cells = (str(finding["count"]), finding["command"], keys, said, _cure_text(finding))
        grid.add_row(*(_plain(cell) for cell in cells))
    return grid


def _plain(text: str) -> str:
    """Without what a terminal or rich would take for a command."""
    return "".join(c if c.isprintable() else "?" for c in text).replace("[", r"\[")


def _cure_text(finding: dict[str, Any]) -> str:
    families = finding["key_families"]
    if not families:
        return str(finding["advice"])
    names = [family for family in families if isinstance(family, str)]
    matches = [family["match"] for family in families if not isinstance(family, str)]
    hashed = [family["hash"] for family in families if not isinstance(family, str)]
    text = f"preset {names[0]}" if names else f"{', '.join(matches)} by {hashed[0]}"
    if finding["is_one_shards_burden"]:
        text += " (all on one shard)"
    return text if finding["is_cured_by_all"] else f"{text}, but not with the other families"


def _print_families(families: list[Any], say: Callable[[str], None]) -> None:
    say("These families keep together every request above that a family can cure:")
    say("")
    say("    key_families:")
    for family in families:
        if isinstance(family, str):
            say(f"      - {family}")
        else:
            say(f"      - {{match: {json.dumps(family['match'])}, hash: {json.dumps(family['hash'])}}}")
