"""`shardproxy doctor`: what is wrong with this machine, a config, and the nodes it names."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shardproxy.cli.ask import AskError, Output, Proxy, ask, console
from shardproxy.cli.check_open import left_open
from shardproxy.config import Config, ConfigError, load_config
from shardproxy.doctor.examine import config_examined, machine_examined
from shardproxy.doctor.finding import Finding, Verdict, bad, warn

STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.BAD: "bold red"}


def doctor(*, config: Path | None = None, all: bool = False, output: Output = "table") -> int:
    """Say what is wrong with this machine and, with a config, with that and with the nodes it names.

    Of the machine: descriptors, CPUs and memory that a container may use, backlogs, the clock, and where
    engines run on it overcommit, huge pages and swap. Of a config: mistakes, what it leaves open, addresses
    that are taken, certificates that expire, the state file, the store. Of every node: whether it answers,
    its version, which commands it refuses the proxy's user, maxmemory, persistence, replication and
    connections against what the config promises. Each with why it matters and the command that mends it.

    Run it as the user, and in the container, of the proxy: limits are those of this process. Changes nothing.
    Exits 1 when something is bad.

    Parameters
    ----------
    config
        The config file, YAML.
    all
        Show also what is as it should be.
    """
    findings = _examined(config)
    if output == "json":
        print(json.dumps(document(findings), indent=2))
    else:
        _print(console(), findings, is_all=all)
    return 1 if any(one.verdict is Verdict.BAD for one in findings) else 0


def _examined(path: Path | None) -> list[Finding]:
    if path is None:
        return machine_examined(None)
    try:
        config = load_config(path)
    except ConfigError as error:
        check = f"shardproxy check {path}"
        wrong = [bad("config", "mistake", text, "the proxy does not start", check) for text in error.reasons]
        return machine_examined(None) + wrong
    opened = [
        warn("config", "open", line, "whoever gets there may read or do more than meant", _mend(path))
        for line in left_open(config)
    ]
    served = trio.run(_config_examined, config, path.resolve(), _is_served(config))
    return machine_examined(config) + opened + served


async def _config_examined(config: Config, path: Path, is_served: bool) -> list[Finding]:
    return await config_examined(config, path, is_served=is_served)


def _is_served(config: Config) -> bool:
    """Whether a proxy answers at the config's admin address, be it only with a refusal."""
    try:
        ask(Proxy(admin=str(config.admin)), "/livez")
    except AskError as error:
        return "no proxy answers" not in str(error)
    return True


def _mend(path: Path) -> str:
    return f"shardproxy check {path}  # after a change of what the line says"


def document(findings: Sequence[Finding]) -> dict[str, object]:
    """As JSON: the findings in their order, and how many there are of each verdict."""
    counts = Counter(one.verdict for one in findings)
    return {
        "verdict": max(counts, key=list(Verdict).index).value if counts else Verdict.OK.value,
        "counts": {verdict.value: counts[verdict] for verdict in Verdict},
        "findings": [asdict(one) | {"verdict": one.verdict.value} for one in findings],
    }


def _print(out: Console, findings: Sequence[Finding], *, is_all: bool) -> None:
    counts = Counter(one.verdict for one in findings)
    shown = sorted(findings, key=lambda one: -list(Verdict).index(one.verdict))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in shown:
        if one.verdict is Verdict.OK and not is_all:
            continue
        text = Text(
            f"{one.about}: {one.check}: {one.found}", style="" if one.verdict is Verdict.OK else "bold"
        )
        if one.why:
            text.append(f"\n{one.why}", style="not bold")
        if one.mend:
            text.append(f"\n$ {one.mend}", style="not bold cyan")
        table.add_row(Text(one.verdict.value, style=STYLES[one.verdict]), text)
    if table.row_count:
        out.print(table)
    said = f"{counts[Verdict.BAD]} bad, {counts[Verdict.WARN]} to be warned of, {counts[Verdict.OK]} ok"
    out.print(said, markup=False, highlight=False)
    if counts[Verdict.OK] and not is_all:
        print("shardproxy doctor --all shows also what is ok", file=sys.stderr)
