"""What no value can know of itself: addresses used twice, slots with two owners, mixed node types.

Works on the plain values of the file, and passes over whatever is broken in itself, so that one round of
corrections is enough.
"""

from __future__ import annotations

import contextlib
import ipaddress
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

from shardproxy.config.addresses import DEFAULT_ADMIN, WILDCARDS, parse_listener, parse_target
from shardproxy.config.shards import read_slots
from shardproxy.config.slots import Slots, slot_faults
from shardproxy.model import Address

Path = tuple[str | int, ...]

# Below these stand secrets, or the places of secrets: what else is written there may be one, and is not said.
SECRETS = frozenset(
    {
        "password",
        "passwords",
        "secret_access_key",
        "session_token",
        "token",
        "tokens",
        "requirepass",
        "redis_auth",
        "headers",
    }
)
SAID = frozenset({"file", "env", "sha256", "rights", "name"})  # keys there
MASK = "***"


@dataclass(frozen=True, slots=True)
class Finding:
    """A contradiction, and the value to correct."""

    path: Path
    message: str
    hint: str | None = None
    is_missing: bool = False  # there is no such value to correct: it is said as of any key that must be there


def findings(config: Mapping[object, object]) -> Iterator[Finding]:
    """Find every contradiction in the plain values of a file."""
    clusters = {
        str(name): c for name, c in _mapping(config.get("clusters")).items() if isinstance(c, Mapping)
    }
    for name, cluster in clusters.items():
        path = ("clusters", name)
        yield from _no_shards(path, cluster)
        yield from _names_twice(path, cluster)
        yield from _mixed_types(path, cluster)
        yield from _slots(path, cluster)
        yield from _open_to_others(path, cluster)
    yield from _twice("group", [(("groups", i), one) for i, one in enumerate(_list(config.get("groups")))])
    yield from _nodes_twice(clusters)
    yield from _listeners_twice(config, clusters)


def _nodes_twice(clusters: Mapping[str, Mapping[object, object]]) -> Iterator[Finding]:
    seen: dict[Address, tuple[str, Path]] = {}
    for name, cluster in clusters.items():
        for where, address in _node_addresses(("clusters", name), cluster):
            owner, first = seen.setdefault(_canonical(address), (name, where))
            if owner != name:
                message = f"{address} is already a node of cluster {owner}, at {show(first)}"
                yield Finding(where, message, "each would empty, and fail over, nodes of the other")
            elif first != where:
                yield Finding(where, f"{address} is already a node of this cluster, at {show(first)}")


def _no_shards(path: Path, cluster: Mapping[object, object]) -> Iterator[Finding]:
    """Only where something else decides may they be left out."""
    decider = _mapping(cluster.get("topology", {"from": "config"})).get("from")
    if cluster.get("engine") == "redis" and "shards" not in cluster and decider == "config":
        yield Finding((*path, "shards"), "is missing", is_missing=True)


def _names_twice(path: Path, cluster: Mapping[object, object]) -> Iterator[Finding]:
    shards = [((*path, "shards", i), shard) for i, shard in enumerate(_list(cluster.get("shards")))]
    yield from _twice("shard", shards)
    if cluster.get("engine") == "memcached":
        yield from _twice("node", _nodes(path, cluster))


def _twice(kind: str, named: Iterable[tuple[Path, object]]) -> Iterator[Finding]:
    seen: dict[str, Path] = {}
    for where, one in named:
        name = _mapping(one).get("name")
        if isinstance(name, str) and (first := seen.setdefault(name, (*where, "name"))) != (*where, "name"):
            yield Finding((*where, "name"), f"{name!r} already names another {kind}, at {show(first)}")


def _mixed_types(path: Path, cluster: Mapping[object, object]) -> Iterator[Finding]:
    stated = [((*path, "node_type"), cluster.get("node_type"))]
    stated += [((*where, "type"), _mapping(node).get("type")) for where, node in _nodes(path, cluster)]
    types = [(where, kind) for where, kind in stated if isinstance(kind, str)]
    for where, kind in types[1:]:
        if kind != types[0][1]:
            first = f"{types[0][1]} at {show(types[0][0])}"
            yield Finding(
                where, f"node type {kind} differs from {first}", "all nodes of a cluster have one type"
            )


def _slots(path: Path, cluster: Mapping[object, object]) -> Iterator[Finding]:
    shards = _list(cluster.get("shards"))
    given: list[Slots | None] = []
    for shard in shards:
        text = _mapping(shard).get("slots")
        try:
            given.append(None if text is None else read_slots(text))
        except PydanticCustomError:
            return  # what it would leave to the others is unknown
    for fault in slot_faults(given) if given else ():
        if fault.shard is None:
            where: Path = (*path, "shards")
        else:
            where = (*path, "shards", fault.shard, *(("slots",) if given[fault.shard] is not None else ()))
        yield Finding(where, fault.message, fault.hint)


def _open_to_others(path: Path, cluster: Mapping[object, object]) -> Iterator[Finding]:
    """Other machines reach it, and nobody has said whether anybody may use it."""
    if cluster.get("access") is not None or cluster.get("client_auth") is not None:
        return
    for where, address in _endpoint_addresses(path, cluster):
        if not is_own(address):
            message = f"{address} is open to other machines, and nobody has to log in"
            hint = "list who may in access: {users: [{name: app, passwords: [...]}]}, or write access: open"
            yield Finding(where, message, hint)
            return


def is_own(address: Address) -> bool:
    """Whether only this machine reaches it."""
    if address.is_unix or address.host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


def _listeners_twice(
    config: Mapping[object, object], clusters: dict[str, Mapping[object, object]]
) -> Iterator[Finding]:
    listeners: list[tuple[Path, Address]] = []
    if (admin := _read(parse_listener, config.get("admin", DEFAULT_ADMIN))) is not None:
        listeners.append((("admin",), admin))
    for name, cluster in clusters.items():
        listeners += _endpoint_addresses(("clusters", name), cluster)
    nodes = [
        pair for name, cluster in clusters.items() for pair in _node_addresses(("clusters", name), cluster)
    ]
    by_port: dict[tuple[int, str], list[tuple[Path, Address]]] = {}
    for where, address in nodes:
        by_port.setdefault(_place(address), []).append((where, address))
    earlier: dict[tuple[int, str], list[tuple[Path, Address]]] = {}
    for where, address in listeners:
        if not address.is_unix and address.port == 0:
            continue
        key = _place(address)
        for first, other in earlier.setdefault(key, []):
            if _collide(address, other, is_listened=True):
                yield Finding(
                    where,
                    f"{address} is already listened on, {_at(first, config)}",
                    "give each its own port" if address.port else "give each its own path",
                )
                break
        earlier[key].append((where, address))
        for first, node in by_port.get(key, ()):
            if _collide(address, node):
                if where[0] not in config:  # the default, which is not in the file to be corrected
                    yield Finding(
                        first, f"{node} is listened on, {_at(where, config)}", "set admin: to another"
                    )
                else:
                    message = f"{address} is the address of a node, at {show(first)}"
                    yield Finding(where, message, "choose another port")
                break


def _at(where: Path, config: Mapping[object, object]) -> str:
    """Say where something stands, or that it does not."""
    return f"at {show(where)}" if where[0] in config else f"as the default of {show(where)}"


def _place(address: Address) -> tuple[int, str]:
    """What two addresses share if they may collide."""
    return address.port, _canonical(address).path


def _node_addresses(path: Path, cluster: Mapping[object, object]) -> Iterator[tuple[Path, Address]]:
    for where, node in _nodes(path, cluster):
        if isinstance(node, Mapping):
            where, node = (*where, "address"), node.get("address")
        if (address := _read(parse_target, node)) is not None:
            yield where, address


def _nodes(path: Path, cluster: Mapping[object, object]) -> Iterator[tuple[Path, object]]:
    for i, shard in enumerate(_list(cluster.get("shards"))):
        for j, node in enumerate(_list(_mapping(shard).get("nodes"))):
            yield (*path, "shards", i, "nodes", j), node
    for i, node in enumerate(_list(cluster.get("nodes"))):
        yield (*path, "nodes", i), node


def _endpoint_addresses(path: Path, cluster: Mapping[object, object]) -> Iterator[tuple[Path, Address]]:
    both = ((key, _mapping(cluster.get(key))) for key in ("endpoints", "tls_endpoints"))
    for key, kind, endpoint in ((key, *one) for key, endpoints in both for one in endpoints.items()):
        where: Path = (*path, key, str(kind))
        if isinstance(endpoint, Mapping):
            where, endpoint = (*where, "address"), endpoint.get("address")
        listed = (
            list(enumerate(_list(endpoint))) if isinstance(endpoint, (list, tuple)) else [(None, endpoint)]
        )
        for i, value in listed:
            if (address := _read(parse_listener, value)) is not None:
                yield where if i is None else (*where, i), address


def _read(parse: Callable[[object], Address], value: object) -> Address | None:
    try:
        return parse(value)
    except PydanticCustomError:
        return None


def _canonical(address: Address) -> Address:
    """Give equal values to spellings of one address."""
    host = address.host.lower()
    if host == "localhost":
        host = "127.0.0.1"
    elif ":" in host:
        with contextlib.suppress(ValueError):
            host = str(ipaddress.ip_address(host))
    path = posixpath.normpath(f"/{address.path.lstrip('/')}") if address.is_unix else ""
    return Address(host, address.port, path)


def _collide(a: Address, b: Address, *, is_listened: bool = False) -> bool:
    """Tell whether listening on one stands in the way of the other; names are not resolved.

    A node may be another machine's, while what is listened on (`is_listened`) is this one's.
    """
    a, b = _canonical(a), _canonical(b)
    if a == b:
        return True
    if a.port != b.port or a.is_unix or b.is_unix or not WILDCARDS & {a.host, b.host}:
        return False
    other = b.host if a.host in WILDCARDS else a.host
    return _is_local(other, is_listened) and (":" in a.host) == (":" in b.host)


def _is_local(host: str, is_listened: bool) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return is_listened or address.is_loopback or address.is_unspecified


def _mapping(value: object) -> Mapping[object, object]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else []


def is_secret(path: Path) -> bool:
    """Whether what stands there is a secret or the place of one."""
    return any(
        part in SECRETS and (at == 0 or path[at - 1] != "clusters")  # a cluster has a name of its own
        for at, part in enumerate(path)
    )


def show(path: Path) -> str:
    """Write a path as in clusters.sessions.shards[1].slots; what may be a secret is masked."""
    text = ""
    for at, part in enumerate(path):
        if isinstance(part, str) and part not in SAID and is_secret(path[:at]):
            part = MASK
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
