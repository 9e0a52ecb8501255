"""Asks a running proxy over its admin API. Knows no subcommand."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import httpx
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from shardproxy.model import Address

DEFAULT_ADMIN = "127.0.0.1:9700"
TIMEOUT = 10.0  # seconds for a page
ACT_TIMEOUT = 45.0  # seconds; whatever is to be done, the proxy says within 30 what became of it
PLAIN_WIDTH = 160  # columns, where there is no terminal to ask

Watch = Annotated[
    float | None,
    Parameter(
        help="Show it again every so many seconds (2 where none are said); q or Ctrl-C ends it.",
        validator=Number(gte=0.1, lte=3600),
        show_default=False,
    ),
]
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


class NoPageError(AskError):
    """The proxy has no such page: it is of an older version, or does not keep what is asked for."""


def ask(
    proxy: Proxy, path: str, body: dict[str, Any] | None = None, *, timeout: float | None = None
) -> dict[str, Any]:
    """GET a page, or POST to it; raise AskError that says what to do."""
    with _reached(
        proxy, timeout or (TIMEOUT if body is None else ACT_TIMEOUT), acts=body is not None
    ) as client:
        return _object(proxy, client.get(path) if body is None else client.post(path, json=body))


def ask_text(proxy: Proxy, path: str) -> str:
    """GET a page that is no JSON; raise AskError."""
    with _reached(proxy, TIMEOUT) as client:
        response = client.get(path)
    if response.status_code != 200:
        _object(proxy, response)
    return response.text


def ask_lines(proxy: Proxy, path: str, *, silence: float = TIMEOUT) -> Iterator[dict[str, Any]]:
    """GET a page that comes line by line, an object each; raise AskError, also after so long a silence."""
    with _reached(proxy, silence) as client, client.stream("GET", path) as response:
        if response.status_code != 200:
            response.read()
            _object(proxy, response)
        for line in response.iter_lines():
            if line:
                yield json.loads(line)


@contextmanager
def _reached(proxy: Proxy, timeout: float, *, acts: bool = False) -> Iterator[httpx.Client]:
    """What speaks to the proxy; raise AskError for what goes wrong with that."""
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
    try:
        with httpx.Client(transport=transport, base_url=url, timeout=timeout, headers=headers) as client:
            yield client
    except httpx.ReadTimeout as error:
        hint = "what became of it is shown by shardproxy status and events" if acts else "try again"
        raise AskError(f"{admin} has not answered within {timeout:g} s: {hint}") from error
    except httpx.RemoteProtocolError as error:
        hint = "" if context else ": does it speak TLS? --cacert names who vouches for it"
        raise AskError(f"{admin} answered no HTTP ({error}){hint}") from error
    except httpx.HTTPError as error:
        if (why := _tls_fault(error)) is not None:
            raise AskError(
                f"{admin} speaks no TLS that is trusted here ({why}): --cacert names who vouches for it"
            ) from error
        raise AskError(
            f"no proxy answers on {admin} ({error}): is it running? --admin names another address"
        ) from error


def _tls_fault(error: BaseException | None) -> str | None:
    """Why somebody answers and is not believed, if that is so."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error.reason or str(error)
        error = error.__cause__ or error.__context__
    return None


def _object(proxy: Proxy, response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer; raise AskError where it is none, or says no."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        if response.status_code == 404:
            raise NoPageError(f"{proxy.admin} has no page {response.url.path}: is it an older proxy?")
        raise AskError(f"{proxy.admin} answered {response.status_code} without JSON: is it a shardproxy?")
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


def show(
    proxy: Proxy,
    path: str,
    output: str,
    table: Callable[[dict[str, Any], Console], None],
    watch: float | None = None,
) -> int:
    """Print a page, again and again every `watch` seconds if so asked; return the exit code."""
    if watch:
        from shardproxy.cli.live import watch_page

        return watch_page(lambda: ask(proxy, path), output, table, watch)
    try:
        answer = ask(proxy, path)
    except AskError as error:
        return fail(error)
    return print_page(answer, output, table)


def print_page(answer: dict[str, Any], output: str, table: Callable[[dict[str, Any], Console], None]) -> int:
    """Print an answer as JSON, or as its table; the exit code."""
    if output == "json":
        print(json.dumps(answer, indent=2))
    else:
        table(answer, console())
    return 0


def path_of(page: str, **query: str | int | list[str] | None) -> str:
    """A page with what is asked of it; what is None is not said."""
    said = {name: value for name, value in query.items() if value is not None}
    return f"{page}?{urlencode(said, doseq=True, errors='surrogateescape')}" if said else page


def fail(error: Exception) -> int:
    """Say why not; the exit code."""
    print(f"shardproxy: {error}", file=sys.stderr)
    return 1


def act(proxy: Proxy, path: str, body: dict[str, Any], output: str, done: str) -> int:
    """Have something done; return the exit code."""
    try:
        answer = ask(proxy, path, body)
    except AskError as error:
        print(f"shardproxy: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer) if output == "json" else done)
    return 0
