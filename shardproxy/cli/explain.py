"""`shardproxy explain`: where one request goes, and why."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from shardproxy.cli.ask import HERE, AskError, Output, Proxy, ask, fail, path_of, print_page, shard_label
from shardproxy.cli.tables import grid, size

STYLES = {"served": "green", "waits": "yellow", "refused": "red"}


def explain(
    cluster: str,
    /,
    *request: Annotated[str, Parameter(allow_leading_hyphen=True)],
    user: str | None = None,
    zone: str | None = None,
    endpoint: Literal["configuration", "primary", "reader"] | None = None,
    output: Output = "table",
    proxy: Proxy = HERE,
) -> int:
    """Say where a request goes, which node serves it and why, and what may stop it. Sends nothing.

    shardproxy explain sessions -- GET user:1

    Its slot and shard, the nodes that may serve it, what the user's rules say, which limits and rules it
    meets, and what would happen to it if the primary were down now. Exit code 1 when no proxy answers, or the
    request would be refused.

    Parameters
    ----------
    cluster
        Its name.
    request
        The command and its arguments, behind --
    user
        Who sends it. Default: the user that nobody logs in as, default.
    zone
        As if the proxy were in that zone.
    endpoint
        Where it comes in. Default: configuration.
    """
    words = list(request)
    if not words:
        return fail(AskError("which request? As in: shardproxy explain sessions -- GET user:1"))
    path = path_of("/api/explain", cluster=cluster, arg=words, user=user, zone=zone, endpoint=endpoint)
    try:
        answer = ask(proxy, path)
    except AskError as error:
        return fail(error)
    print_page(answer, output, _print)
    return 1 if answer["outcome"] == "refused" else 0


def _print(answer: dict[str, Any], out: Console) -> None:
    def say(name: str, text: str, style: str = "") -> None:
        table.add_row(f"[bold]{name}[/]", f"[{style}]{escape(text)}[/]" if style else escape(text))

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    outcome = answer["outcome"]
    say(outcome, answer["text"], STYLES.get(outcome, ""))
    say("request", f"{' '.join(answer['request'])} ({_command_text(answer['command'])})")
    say("user", f"{answer['access']['user'] or 'anybody'}: {answer['access']['text']}")
    for key in answer["keys"]:
        say("key", key_text(key))
    if answer["more_keys"]:
        say("", f"and {answer['more_keys']} keys more")
    if answer["read_your_writes"]:
        say("writes", answer["read_your_writes"])
    for name, title in (("caching", "caching rule"), ("near_cache", "near cache")):
        if (rule := answer[name]) is not None:
            say(title, f"{rule['match']}: {rule['text']}")
    say("limits", limits_text(answer["limits"]))
    out.print(table)
    for part in answer["parts"]:
        _print_nodes(part, out)
    for without in answer["without_primary"]:
        out.print(
            f"[bold]Were the primary of shard {escape(str(without['label']))} down now:[/]", highlight=False
        )
        lines = [without["text"], _promotion_text(without)]
        lines += [f"{one['address']} would not be promoted: {one['why']}" for one in without["refused"]]
        for line in filter(None, lines):
            out.print(Padding(escape(line), (0, 0, 0, 2)), highlight=False)


def _command_text(command: dict[str, Any]) -> str:
    kind = f"{command['kind']}, " if "kind" in command else ""
    slow = ", may take an engine long" if command.get("is_slow") else ""
    return f"{kind}route {command['route']}{slow}"


def key_text(key: dict[str, Any]) -> str:
    """`user:1: slot 10778, by its tag {1}, shard 1`."""
    parts = [f"slot {key['slot']}"] if key["slot"] is not None else []
    if key["tag"] is not None:
        parts.append(f"by its hash tag {{{key['tag']}}}")
    if key["family"] is not None:
        parts.append(f"by the key family {key['family']}")
    parts.append(f"shard {shard_label(key['shard'], None)}" if key["shard"] is not None else "nobody has it")
    return f"{key['key']}: {', '.join(parts)}"


def limits_text(limits: dict[str, Any]) -> str:
    """The limits that it meets, with what it takes of them where that is known."""
    said = []
    if "request_bytes" in limits:
        said.append(f"{size(limits['request_bytes'])} of limits.request {_limit(limits['request'])}")
    if "shard_queue" in limits:
        said.append(f"shard_queue {_limit(limits['shard_queue'])}")
    said += [f"timeouts.{name} {value:g} s" for name, value in limits["timeouts"].items() if value]
    if limits.get("slow_after"):
        said.append(f"as it may take long, {limits['slow_after']:g} s for its reply")
    return ", ".join(said)


def _limit(value: int) -> str:
    return size(value) if value else "(none)"


def _print_nodes(part: dict[str, Any], out: Console) -> None:
    if not part["nodes"]:
        return
    title = f"shard {escape(str(part['label']))}" + (f", {part['keys']} keys" if part["keys"] > 1 else "")
    table = grid(out, ("", "node", "role", "zone", "state", "owes", "why not"), ("owes",), title=title)
    for node in part["nodes"]:
        table.add_row(
            ">" if node.get("is_candidate") else "",
            escape(node["address"]),
            node.get("role", ""),
            escape(node.get("zone") or ""),
            node["state"],
            size(node.get("outstanding_bytes", 0)),
            escape(node["why_not"]),
            style="bold" if node.get("is_candidate") else "",
        )
    out.print(table)


def _promotion_text(without: dict[str, Any]) -> str:
    if without["promoted"] is None:
        return f"Nobody would be promoted: {without['why']}."
    return f"{without['promoted']} would be promoted: {without['why']}."
