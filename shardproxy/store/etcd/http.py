"""One request of HTTP, and what is read of its answer. Knows nothing of what is asked."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NoReturn, cast

import httpx
import trio

from shardproxy.store.etcd.errors import EtcdRefusedError, EtcdUnavailableError, error_of
from shardproxy.store.etcd.messages import Message
from shardproxy.store.interface import StoreUnavailableError

CONNECT = 0.5  # seconds for a connection
MAX_REPLY = 64 << 20  # bytes; a page of keys is less, and so is what a watch tells at once


class _Body(httpx.AsyncByteStream):
    """Bytes to send. No generator: one that is left half-way, as its connection breaks, is not cleaned up."""

    def __init__(self, data: bytes) -> None:
        self._parts = iter((data,))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return cast(AsyncIterator[bytes], self)

    async def __anext__(self) -> bytes:
        for part in self._parts:
            return part
        raise StopAsyncIteration


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
    return httpx.Request("POST", target, headers=headers, stream=_Body(data), extensions=extensions)


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
    content, length = bytearray(), 0
    async for chunk in response.aiter_raw():  # to its end: what is left half-way is not cleaned up
        length += len(chunk)
        if length <= MAX_REPLY:
            content += chunk
    if length > MAX_REPLY:
        raise EtcdRefusedError(f"{endpoint}: an answer of more than {MAX_REPLY} bytes")
    return bytes(content)


async def lines_take(response: httpx.Response, take: Callable[[bytes], None], endpoint: str) -> NoReturn:
    """Have each line taken. What is left half-way is not cleaned up, so it is cancelled where it waits."""
    failure: StoreUnavailableError | None = None
    rest = b""
    with trio.CancelScope() as scope:
        async for chunk in response.aiter_raw():
            if failure is not None:
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            try:
                for line in filter(None, lines):
                    take(line)
                if len(rest) > MAX_REPLY:
                    raise EtcdRefusedError(f"{endpoint}: more than {MAX_REPLY} bytes at once")
            except StoreUnavailableError as error:
                failure = error
                scope.cancel()
    raise failure or EtcdUnavailableError(f"{endpoint} has ended the watch")


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
