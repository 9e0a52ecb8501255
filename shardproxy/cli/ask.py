"""Asks a running proxy over its admin API. Knows no subcommand."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
from cyclopts import Parameter
from rich.console import Console

from shardproxy.model import Address

DEFAULT_ADMIN = "127.0.0.1:9700"
TIMEOUT = 10.0  # seconds for a page
ACT_TIMEOUT = 45.0  # seconds; whatever is to be done, the proxy says within 30 what became of it
PLAIN_WIDTH = 160  # columns, where there is no terminal to ask

Output = Annotated[Literal["table", "json"], Parameter(help="A table for people, or JSON for programs.")]


def _of_environment(name: str, text: str) -> Any:
    return Parameter(env_var=name, help=f"{text} Also ${name}.", show_env_var=False, show_default=False)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Proxy:
    """How a running proxy is reached, and who asks."""

    admin: Annotated[
        str,
        _of_environment(
            "SHARDPROXY_ADMIN", f"Admin address: host:port or unix:/path (default {DEFAULT_ADMIN})."
        ),
    ] = DEFAULT_ADMIN
    token_file: Annotated[
        Path | None, _of_environment("SHARDPROXY_TOKEN_FILE", "File with the bearer token to ask with.")
    ] = None
    cacert: Annotated[
        Path | None,
        _of_environment("SHARDPROXY_CACERT", "PEM file of who vouches for the proxy; turns on TLS."),
    ] = None
    cert: Annotated[Path | None, _of_environment("SHARDPROXY_CERT", "PEM file of a client certificate.")] = (
        None
    )
    key: Annotated[Path | None, _of_environment("SHARDPROXY_KEY", "PEM file of its key.")] = None

    def context(self) -> ssl.SSLContext | None:
        """What TLS is spoken with, if it is; raise AskError."""
        if self.cacert is None and self.cert is None:
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.cacert) if self.cacert else None)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise AskError(f"--cacert, --cert or --key: {error}") from error
        return context

    def headers(self) -> dict[str, str]:
        """Raise AskError."""
        if self.token_file is None:
            return {}
        try:
            token = self.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AskError(f"--token-file {self.token_file}: {error}") from error
        if not token.isprintable() or " " in token:
            raise AskError(f"--token-file {self.token_file}: a token is one word, in one line")
        return {"authorization": f"Bearer {token}"}


HERE = Proxy()


class AskError(Exception):
    """Nobody answered, or the answer was no."""


def ask(proxy: Proxy, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """GET a page, or POST to it; raise AskError that says what to do."""
    admin = proxy.admin
    try:
        address = Address.parse(admin)
    except ValueError as error:
        raise AskError(f"--admin {error}") from error
    context, headers = proxy.context(), proxy.headers()
    transport = httpx.HTTPTransport(
        uds=address.path if address.is_unix else None, verify=context if context is not None else True
    )
    scheme = "http" if context is None else "https"
    url = f"{scheme}://localhost" if address.is_unix else f"{scheme}://{address}"
    timeout = TIMEOUT if body is None else ACT_TIMEOUT
    try:
        with httpx.Client(transport=transport, base_url=url, timeout=timeout, headers=headers) as client:
            response = client.get(path) if body is None else client.post(path, json=body)
    except httpx.ReadTimeout as error:
        hint = "try again" if body is None else "what became of it is shown by shardproxy status and events"
        raise AskError(f"{admin} has not answered within {timeout:g} s: {hint}") from error
    except httpx.RemoteProtocolError as error:
        hint = "" if context else ": does it speak TLS? --cacert names who vouches for it"
        raise AskError(f"{admin} answered no HTTP ({error}){hint}") from error
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


def show(proxy: Proxy, path: str, output: str, table: Callable[[dict[str, Any]], None]) -> int:
    """Print a page; return the exit code."""
    try:
        answer = ask(proxy, path)
    except AskError as error:
        print(f"shardproxy: {error}", file=sys.stderr)
        return 1
    if output == "json":
        print(json.dumps(answer, indent=2))
    else:
        table(answer)
    return 0


def act(proxy: Proxy, path: str, body: dict[str, Any], output: str, done: str) -> int:
    """Have something done; return the exit code."""
    try:
        answer = ask(proxy, path, body)
    except AskError as error:
        print(f"shardproxy: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer) if output == "json" else done)
    return 0
