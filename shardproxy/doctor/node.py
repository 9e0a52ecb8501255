"""What a node says of itself: settings, figures, and what the proxy's user may do there. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shardproxy.doctor.rights import Request
from shardproxy.model import Address
from shardproxy.nodes import NodeError, NodeFailure, NodeLink
from shardproxy.wire.info import InfoError, read_fields
from shardproxy.wire.reply import Failure, Reply

SETTINGS = (
    "maxmemory",
    "maxmemory-policy",
    "maxclients",
    "appendonly",
    "appendfsync",
    "save",
    "min-*-to-write",  # replicas, under the old word before Redis 5
    "timeout",
    "tcp-keepalive",
    "client-output-buffer-limit",
    "repl-backlog-size",
)
OLD_WORD, WORD = "slave", "replica"  # of settings, before Redis 5


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node; settings are empty where `why_no_settings` says why."""

    address: Address
    why_silent: str | None = None
    refusal: str | None = None  # of the login, or of INFO: the node is there
    info: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    why_no_settings: str | None = None
    user: str | None = None
    is_open: bool = False  # whoever reaches it may do everything
    missing: Mapping[Request, str] = field(default_factory=dict)  # requests that are refused, with the reply
    why_no_rights: str | None = None  # the node does not tell what the user may do

    @property
    def cli(self) -> str:
        """How an operator asks it."""
        if self.address.is_unix:
            return f"redis-cli -s {self.address.path}"
        return f"redis-cli -h {self.address.host} -p {self.address.port}"


def number(values: Mapping[str, str], name: str, default: int = 0) -> int:
    """A figure of INFO or CONFIG GET; the default where it is none."""
    text = values.get(name, "")
    return int(text) if text.lstrip("-").isdigit() else default


async def node_asked(link: NodeLink, requests: Sequence[Request]) -> NodeFacts:
    """Ask one node of Redis or Valkey."""
    address = link.address
    try:
        info = read_fields(await link.request("INFO", "everything"))
    except NodeFailure as failure:
        return NodeFacts(address, why_silent=failure.why)
    except NodeError as error:
        return NodeFacts(address, refusal=error.failure.text)
    except InfoError as error:
        return NodeFacts(address, why_silent=str(error))
    try:
        settings, why_no_settings = await _settings(link)
        user, missing, why_no_rights = await _rights(link, requests)
        is_open = await _is_open(link)
    except NodeFailure as failure:
        return NodeFacts(address, why_silent=failure.why)
    return NodeFacts(
        address,
        info=info,
        settings=settings,
        why_no_settings=why_no_settings,
        user=user,
        is_open=is_open,
        missing=missing,
        why_no_rights=why_no_rights,
    )


async def _settings(link: NodeLink) -> tuple[dict[str, str], str | None]:
    found: dict[str, str] = {}
    for reply in await link.request_many([("CONFIG", "GET", name) for name in SETTINGS]):
        if isinstance(reply, Failure):
            return {}, reply.text
        found |= {
            name.replace(OLD_WORD, WORD): value.replace(OLD_WORD, WORD)
            for name, value in _pairs(reply).items()
        }
    return found, None


async def _rights(
    link: NodeLink, requests: Sequence[Request]
) -> tuple[str | None, dict[Request, str], str | None]:
    (whoami,) = await link.request_many([("ACL", "WHOAMI")])
    if isinstance(whoami, Failure):
        return None, {}, whoami.text
    user = _text(whoami)
    replies = await link.request_many([("ACL", "DRYRUN", user, *request) for request in requests])
    missing: dict[Request, str] = {}
    for request, reply in zip(requests, replies, strict=True):
        if isinstance(reply, Failure):
            if _is_of_the_question(reply):  # it may not ask, or is older than 7.0
                return user, {}, reply.text
            missing[request] = reply.text
        elif (text := _text(reply)) != "OK":
            missing[request] = text
    return user, missing, None


def _is_of_the_question(reply: Failure) -> bool:
    return "acl" in reply.text.lower() or "subcommand" in reply.text.lower()


async def _is_open(link: NodeLink) -> bool:
    (reply,) = await link.request_many([("ACL", "GETUSER", "default")])
    if isinstance(reply, Failure) or not isinstance(reply, Sequence) or isinstance(reply, str | bytes):
        return False
    for name, value in zip(reply[::2], reply[1::2], strict=False):
        if _text(name) == "flags" and isinstance(value, Sequence):
            flags = {_text(flag) for flag in value}
            return {"on", "nopass"} <= flags
    return False


def _pairs(reply: Reply) -> dict[str, str]:
    if not isinstance(reply, Sequence) or isinstance(reply, str | bytes):
        return {}
    texts = [_text(item) for item in reply]
    return dict(zip(texts[::2], texts[1::2], strict=False))


def _text(reply: object) -> str:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
