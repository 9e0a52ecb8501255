"""What a config leaves open, for `shardproxy check`: not refused, but an operator should know of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from shardproxy.config import Config, NodeAuth, RedisCluster
from shardproxy.config.access import User
from shardproxy.config.caching_sources import HttpSource
from shardproxy.config.checks import is_own
from shardproxy.config.clusters import Cluster
from shardproxy.config.files import why_exposed
from shardproxy.config.topology import FromSentinel
from shardproxy.model import Address

# Of a user who may all of this no rule takes anything away that a script could do.
EVERYTHING = ((b"FLUSHALL",), (b"SET", b"any key", b"1"), (b"KEYS", b"*"), (b"PUBLISH", b"any channel", b"1"))


def left_open(config: Config) -> Iterator[str]:
    """Say each in a line that says what to write instead."""
    for name, cluster in config.clusters.items():
        for line in (*_endpoints(cluster), *_users(config, cluster), *_nodes(cluster), *_sources(cluster)):
            yield f"{name}: {line}"
    yield from _admin(config)
    for path in sorted(_secret_files(config)):
        if (why := why_exposed(path)) is not None:
            yield why


def _endpoints(cluster: Cluster) -> Iterator[str]:
    outside = [
        (address, speaks_tls)
        for _, endpoint, speaks_tls in cluster.listened
        for address in endpoint.addresses
        if not is_own(address)
    ]
    if outside and not _asks_login(cluster):
        yield f"whoever reaches {outside[0][0]} may do everything: name users under access:"
    if plain := [str(address) for address, speaks_tls in outside if not speaks_tls]:
        yield f"no TLS at {', '.join(plain)}: what is said there, passwords too, is open on its way: add tls:"


def _asks_login(cluster: Cluster) -> bool:
    has_users = cluster.access is not None and cluster.access.asks_login
    return has_users or getattr(cluster, "client_auth", None) is not None


def _users(config: Config, cluster: Cluster) -> Iterator[str]:
    if cluster.access is None:
        return
    groups = {group.name: group.users for group in config.groups}
    users = [
        *cluster.access.users,
        *(user for name in cluster.access.groups for user in groups.get(name, ())),
    ]
    for user in users:
        if user.enabled and user.nopass:
            yield f"user {user.name} needs no password: leave out nopass, or see that its rules allow little"
    if isinstance(cluster, RedisCluster):
        yield from _scripts(users)
    if any(_sends_token(user) for user in users) and any(not tls for *_, tls in cluster.listened):
        yield "users log in by tokens, and whoever sees one may use it: let clients speak TLS alone"


def _scripts(users: list[User]) -> Iterator[str]:
    """Users that may not do everything, but run scripts: engines know the proxy's user alone."""
    from shardproxy.dataplane.rules import rules_of_package

    rules = rules_of_package()
    for user in users:
        line = f"on {user.rights}"
        may_script = rules.why_denied(line, [b"EVAL", b"return 1", b"0"]) is None
        is_limited = any(rules.why_denied(line, list(words)) is not None for words in EVERYTHING)
        if user.enabled and may_script and is_limited:
            what = "and its rules do not judge what they call: add -@scripting"
            yield f"user {user.name} may run scripts, {what}"


def _sends_token(user: User) -> bool:
    return user.enabled and (user.iam or user.external)


def _nodes(cluster: Cluster) -> Iterator[str]:
    outside = [str(address) for address in _addresses(cluster) if not is_own(address)]
    if outside and cluster.node_tls is None and cluster.node_auth is not None:
        more = f" and {len(outside) - 1} more" if len(outside) > 1 else ""
        yield f"no TLS to {outside[0]}{more}: the password of node_auth is open on its way: add node_tls:"
    decider = getattr(cluster, "decider", None)
    if isinstance(decider, FromSentinel) and decider.password is not None and decider.tls is None:
        for address in [address for address in decider.sentinels if not is_own(address)][:1]:
            yield f"no TLS to Sentinel {address}: its password is open on its way: add tls: in topology:"


def _sources(cluster: Cluster) -> Iterator[str]:
    for name, source in cluster.caching.sources.items() if cluster.caching is not None else ():
        if isinstance(source, HttpSource) and source.token is not None and source.url.startswith("http://"):
            host = urlsplit(source.url).hostname or ""
            if not is_own(Address(host, 0)):
                yield f"no TLS to source {name}: its token is open on its way: write https://"


def _addresses(cluster: Cluster) -> Iterator[Address]:
    if isinstance(cluster, RedisCluster):
        return (node.address for shard in cluster.shards for node in shard.nodes)
    return (node.address for node in cluster.nodes)


def _admin(config: Config) -> Iterator[str]:
    if is_own(config.admin):
        return
    if config.admin_access is None:
        yield f"admin: whoever reaches {config.admin} may read of nodes: list tokens: under admin_access:"
    elif config.admin_access.tls is None:
        yield f"admin: no TLS at {config.admin}: tokens are open on their way: add tls: under admin_access:"


def _secret_files(config: Config) -> Iterator[Path]:
    """Files with keys and passwords, those in a file of users left out."""
    named: set[str] = set()
    for cluster in config.clusters.values():
        access, node_auth = cluster.access, cluster.node_auth
        if access is not None:
            named |= {one.file for user in access.users for one in user.passwords if one.file is not None}
            named |= {access.iam.keys} if access.iam is not None else set()
            named |= {access.users_file} if access.users_file is not None else set()
        if isinstance(node_auth, NodeAuth):
            named |= set(node_auth.files)
        if cluster.tls is not None:
            named |= {key for _, key in cluster.tls.pairs}
        if cluster.node_tls is not None and cluster.node_tls.key is not None:
            named.add(cluster.node_tls.key)
        for source in cluster.caching.sources.values() if cluster.caching is not None else ():
            secret = getattr(source, "password", None) or getattr(source, "token", None)
            named |= {secret.file} if secret is not None and secret.file is not None else set()
        if isinstance(decider := getattr(cluster, "decider", None), FromSentinel):
            named |= {decider.password.file} if decider.password and decider.password.file else set()
            named |= {decider.tls.key} if decider.tls and decider.tls.key else set()
    for group in config.groups:
        named |= {one.file for user in group.users for one in user.passwords if one.file is not None}
    if config.admin_access is not None:
        named |= {key for _, key in config.admin_access.tls.pairs} if config.admin_access.tls else set()
        named |= {token.file for token in config.admin_access.tokens if token.file is not None}
    yield from (config.source.directory / name for name in named)
