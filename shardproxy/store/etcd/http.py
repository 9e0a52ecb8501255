"""One request of HTTP, and what is read of its answer. Knows nothing of what is asked."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

import httpx

from shardproxy.store import streams
from shardproxy.store.etcd.errors import EtcdRefusedError, EtcdUnavailableError, error_of
from shardproxy.store.etcd.messages import Message
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.streams import TooMuchError, body_of, body_read

CONNECT = 0.5  # seconds for a connection
MAX_REPLY = 64 << 20  # bytes; a page of keys is less, and so is what a watch tells at once


def request_of(url: str, body: Mapping[str, Any], token: str, server_name: str | None) -> httpx.Request:
    """A POST of JSON; its deadline is its sender's."""
    data = json.dumps(body).encode()
    target = httpx.URL(url)
    headers = {
        "host": target.netloc.decode(),
        "content-type": "application/json",
        "content-length": str(len(data)),
        "accept-encoding": "identity",
        **({"authorization": token} if token else {}),
    }
    named = {"sni_hostname": server_name} if server_name is not None else {}
    timeout = httpx.Timeout(None, connect=CONNECT).as_dict()
    extensions = {"timeout": timeout, **named}
    return httpx.Request("POST", target, headers=headers, stream=body_of(data), extensions=extensions)


async def check_status(response: httpx.Response, endpoint: str) -> None:
    if response.status_code != 200:
        content = await read_all(response, endpoint)
        try:
            message = json.loads(content)
        except ValueError:
            message = {}
        raise failure_of(message, endpoint, f"status {response.status_code}")


def failure_of(
    message: Any, endpoint: str, otherwise: str = "an error without a text"
) -> StoreUnavailableError:
    known = message if isinstance(message, dict) else {}
    code = known.get("code", known.get("grpc_code", 0))
    text = known.get("message") or known.get("error") or otherwise
    return error_of(code if isinstance(code, int) else 0, str(text), endpoint)


async def read_all(response: httpx.Response, endpoint: str) -> bytes:
    try:
        return await body_read(response, MAX_REPLY)
    except TooMuchError as error:
        raise EtcdRefusedError(f"{endpoint}: an answer of {error}") from error


async def lines_take(response: httpx.Response, take: Callable[[bytes], None], endpoint: str) -> NoReturn:
    """Have each line taken; raise what `take` raises, and that the watch has ended."""
    try:
        await streams.lines_take(response, take, MAX_REPLY)
    except TooMuchError as error:
        raise EtcdRefusedError(f"{endpoint}: {error}") from error
    raise EtcdUnavailableError(f"{endpoint} has ended the watch")


def message_of(content: bytes, endpoint: str) -> Message:
    try:
        message = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EtcdUnavailableError(f"{endpoint} does not answer in JSON") from error
    if not isinstance(message, dict):
        raise EtcdUnavailableError(f"{endpoint} does not answer as etcd")
    return cast(Message, message)


def cause_of(error: BaseException) -> str:
    """Why, in words: what lies at the bottom of it."""
    while True:
        below = error.__cause__
        if below is None and (isinstance(error.__context__, OSError) or not str(error)):
            below = error.__context__
        if isinstance(error, BaseExceptionGroup):
            below = error.exceptions[0]  # of the attempts at each address of a name
        if below is None:
            break
        error = below
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
