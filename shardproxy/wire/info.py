"""INFO and ROLE as values. Pure; the engine's old words end here.

Unknown fields are ignored: engines add some with every version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from shardproxy.model import Address
from shardproxy.model.replication import AttachedReplica, Lineage, Replication, Role, Server
from shardproxy.wire.reply import Reply, Verbatim

NO_REPLID = "0" * 40  # what an engine shows for none


class InfoError(ValueError):
    """The reply is not what the command answers."""


def read_fields(reply: Reply) -> dict[str, str]:
    """INFO as its fields, of all sections together."""
    text = reply.text if isinstance(reply, Verbatim) else reply
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    if not isinstance(text, str):
        raise InfoError(f"INFO replied {reply!r:.80}")
    pairs = [line.split(":", 1) for line in text.splitlines() if ":" in line and line[0] != "#"]
    return {name: value for name, value in pairs}  # noqa: C416  # dict(pairs) is not so typed


def read_server(fields: Mapping[str, str]) -> Server:
    """INFO server."""
    return Server(
        run_id=_field(fields, "run_id"),
        version=fields.get("valkey_version") or fields.get("redis_version", ""),
        mode=fields.get("redis_mode") or fields.get("server_mode", "standalone"),
    )


def read_replication(fields: Mapping[str, str]) -> Replication:
    """INFO replication."""
    role = _role(_field(fields, "role"))
    lineage = _lineage(
        _field(fields, "master_replid"),
        _replid(fields.get("master_replid2", "")),
        _number(fields, "second_repl_offset", -1),
    )
    if role is Role.PRIMARY:
        return Replication(
            role,
            lineage,
            offset=_number(fields, "master_repl_offset"),
            attached=_attached(fields),
            is_handing_over=fields.get("master_failover_state", "no-failover") != "no-failover",
        )
    last_io = _number(fields, "master_last_io_seconds_ago", -1)
    down_for = _number(fields, "master_link_down_since_seconds", -1)
    return Replication(
        role,
        lineage,
        offset=_number(fields, "slave_repl_offset"),
        follows=_address(_field(fields, "master_host"), _number(fields, "master_port")),
        is_link_up=fields.get("master_link_status") == "up",
        is_syncing=fields.get("master_sync_in_progress") == "1",
        last_io=last_io if last_io >= 0 else None,
        link_down_for=down_for if down_for >= 0 else None,
        priority=_number(fields, "slave_priority", 100),
    )


def read_announced(config: Reply) -> Address | None:
    """What a replica tells its primary, from CONFIG GET replica-announce-*; None when it tells nothing.

    Host "" or port 0: that shows by itself.
    """
    if not isinstance(config, Sequence) or isinstance(config, str | bytes):
        return None
    texts = [item.decode(errors="replace") if isinstance(item, bytes) else "" for item in config]
    found = dict(zip(texts[::2], texts[1::2], strict=False))
    host, port = found.get("replica-announce-ip", ""), found.get("replica-announce-port", "")
    announced = Address(host=host, port=int(port) if port.isascii() and port.isdigit() else 0)
    return announced if announced != Address() else None


def read_role(reply: Reply) -> tuple[Role, int]:
    """ROLE: the role, and the offset it has (-1 when it has none)."""
    match reply:
        case [bytes() as word, int() as offset, Sequence()] if word == b"master":
            return Role.PRIMARY, offset
        case [bytes() as word, bytes(), int(), bytes(), int() as offset] if word == b"slave":
            return Role.REPLICA, offset
    raise InfoError(f"ROLE replied {reply!r:.80}")


def _attached(fields: Mapping[str, str]) -> tuple[AttachedReplica, ...]:
    """`slave0:ip=127.0.0.1,port=17902,state=online,offset=0,lag=0`, and so on."""
    found = []
    for number in range(_number(fields, "connected_slaves", 0)):
        pairs = [pair.split("=", 1) for pair in fields.get(f"slave{number}", "").split(",") if "=" in pair]
        values = {name: value for name, value in pairs}  # noqa: C416  # as above
        if "ip" in values:
            address = _address(values["ip"], _number(values, "port"))
            found.append(
                AttachedReplica(address, values.get("state") == "online", _number(values, "offset", 0))
            )
    return tuple(found)


# The same few come again and again, from hundreds of nodes every second.


@lru_cache(maxsize=4096)
def _address(host: str, port: int) -> Address:
    return Address(host=host, port=port)


@lru_cache(maxsize=4096)
def _lineage(replid: str, replid2: str, second_offset: int) -> Lineage:
    return Lineage(replid, replid2, second_offset)


def _role(word: str) -> Role:
    match word:
        case "master":
            return Role.PRIMARY
        case "slave":
            return Role.REPLICA
    raise InfoError(f"INFO says role:{word:.20}")


def _replid(text: str) -> str:
    return "" if text == NO_REPLID else text


def _field(fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        raise InfoError(f"INFO has no {name}")
    return fields[name]


def _number(fields: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = fields.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text if text is not None else _field(fields, name))
    except ValueError:
        raise InfoError(f"INFO says {name}:{text!r:.40}, which is not a number") from None
