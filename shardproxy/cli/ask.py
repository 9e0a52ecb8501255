"""Asks a running proxy over its admin API. Knows no subcommand."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import httpx
from cyclopts import Parameter
from rich.console import Console

from shardproxy.model import Address

DEFAULT_ADMIN = "127.0.0.1:9700"
TIMEOUT = 10.0  # seconds for a page
ACT_TIMEOUT = 45.0  # seconds; whatever is to be done, the proxy says within 30 what became of it
PLAIN_WIDTH = 160  # columns, where there is no terminal to ask

Admin = Annotated[str, Parameter(name="--admin", help="Admin address of the proxy: host:port or unix:/path.")]
Output = Annotated[Literal["table", "json"], Parameter(help="A table for people, or JSON for programs.")]


class AskError(Exception):
    """Nobody answered, or the answer was no."""


def ask(admin: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """GET a page, or POST to it; raise AskError that says what to do."""
    try:
        address = Address.parse(admin)
    except ValueError as error:
        raise AskError(f"--admin {error}") from error
    transport = httpx.HTTPTransport(uds=address.path) if address.is_unix else httpx.HTTPTransport()
    url = "http://localhost" if address.is_unix else f"http://{address}"
    timeout = TIMEOUT if body is None else ACT_TIMEOUT
    try:
        with httpx.Client(transport=transport, base_url=url, timeout=timeout) as client:
            response = client.get(path) if body is None else client.post(path, json=body)
    except httpx.ReadTimeout as error:
        hint = "try again" if body is None else "what became of it is shown by shardproxy status and events"
        raise AskError(f"{admin} has not answered within {timeout:g} s: {hint}") from error
    except httpx.HTTPError as error:
        raise AskError(
            f"no proxy answers on {admin} ({error}): is it running? --admin names another address"
        ) from error
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise AskError(f"{admin} answered {response.status_code} without JSON: is it a shardproxy?")
    if response.status_code != 200:
        raise AskError(str(answer.get("error", f"status {response.status_code}")))
    return answer


def shard_label(number: int | None, name: str | None) -> str:
    """What people call a shard; empty where none is meant."""
    return name or ("" if number is None else str(number))


def console() -> Console:
    """As wide as the terminal, or wide enough for a table."""
    made = Console()
    return made if made.is_terminal else Console(width=PLAIN_WIDTH)


def show(admin: str, path: str, output: str, table: Callable[[dict[str, Any]], None]) -> int:
    """Print a page; return the exit code."""
    try:
        answer = ask(admin, path)
    except AskError as error:
        print(f"shardproxy: {error}", file=sys.stderr)
        return 1
    if output == "json":
        print(json.dumps(answer, indent=2))
    else:
        table(answer)
    return 0


def act(admin: str, path: str, body: dict[str, Any], output: str, done: str) -> int:
    """Have something done; return the exit code."""
    try:
        answer = ask(admin, path, body)
    except AskError as error:
        print(f"shardproxy: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer) if output == "json" else done)
    return 0
