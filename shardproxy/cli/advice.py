"""`shardproxy advice`: what is wrong with how clusters are used."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from shardproxy.cli.ask import ACT_TIMEOUT, HERE, AskError, Output, Proxy, ask, fail, path_of, print_page

STYLES = {"critical": "bold red", "warning": "yellow", "info": "dim"}


def advice(cluster: str | None = None, /, *, output: Output = "table", proxy: Proxy = HERE) -> int:
    """Say what is wrong with how clusters are used, with the figures, and what to do about it.

    Skew of keys, memory and load over shards; keys and families that take most of a shard; memory that ends;
    evictions; nodes in one zone; connections that are opened for every request. Watches for two seconds.
    Exit code 1 when no proxy answers.

    Parameters
    ----------
    cluster
        Default: all.
    """
    try:
        answer = ask(proxy, path_of("/api/advice", cluster=cluster), timeout=ACT_TIMEOUT)
    except AskError as error:
        return fail(error)
    return print_page(answer, output, _print)


def _print(answer: dict[str, Any], out: Console) -> None:
    for name, findings in answer["clusters"].items():
        out.print(f"cluster {escape(name)}: {'nothing to say' if not findings else ''}", highlight=False)
        for finding in findings:
            severity = finding["severity"]
            style = STYLES.get(severity, "")
            out.print(f"[{style}]{severity}[/]  {escape(finding['title'])}", highlight=False)
            out.print(Padding(escape(finding["advice"]), (0, 0, 0, 10)), highlight=False)
            if figures := figures_text(finding["figures"]):
                out.print(Padding(escape(figures), (0, 0, 0, 10)), style="dim", highlight=False)


def figures_text(figures: dict[str, Any]) -> str:
    """`shard 0, share 0.61`"""
    return ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in figures.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name}: {_value(of)}" for name, of in value.items()) + ")"
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
