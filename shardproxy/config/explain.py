"""Turns the errors of validation into plain words, with a place in the file and a hint."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shardproxy.config.base import REFUSED, Section
from shardproxy.config.caching_sources import SOURCE_FORMS
from shardproxy.config.checks import Path, show
from shardproxy.config.clusters import MemcachedCluster, RedisCluster
from shardproxy.config.document import Document
from shardproxy.config.errors import Problem
from shardproxy.config.families import FORMS, FamilyPreset, FamilyRule
from shardproxy.config.node_auth import PasswordAuth
from shardproxy.config.root import Config
from shardproxy.config.secrets import Secret
from shardproxy.config.topology import FromConfig, FromRedisCluster, FromSentinel

ENGINES: dict[str, type[Section]] = {"redis": RedisCluster, "memcached": MemcachedCluster}

DECIDERS: dict[str, type[Section]] = {
    "config": FromConfig,
    "sentinel": FromSentinel,
    "redis-cluster": FromRedisCluster,
}

PLACE = "a place"  # of a secret, which may be text, too
TAGS: dict[str, type[Section]] = {
    **ENGINES,
    **FORMS,
    **SOURCE_FORMS,
    **DECIDERS,
    PLACE: Secret,
}  # what locations name beside keys

# Said when a key that must be there is not; {key} alone says it for the rest.
MISSING = {
    "clusters": "name at least one cluster under clusters:",
    "engine": "write engine: redis or engine: memcached",
    "endpoints": "say where applications connect, as in: endpoints: {configuration: 127.0.0.1:7000}",
    "configuration": "say where applications connect, as in: configuration: 127.0.0.1:11211",
    "shards": 'list the shards, as in: shards: [{nodes: ["127.0.0.1:6379"]}]',
    "nodes": 'list the addresses of the nodes, as in: nodes: ["127.0.0.1:6379"]',
    "address": "write it like 127.0.0.1:6379",
    "password": "write {file: /run/secrets/redis-password} or {env: REDIS_PASSWORD}",
    "secret_access_key": "write {file: /run/secrets/iam-key} or {env: AWS_SECRET_ACCESS_KEY}",
    "token": "write {file: /run/secrets/token} or {env: TOKEN}",
    "session_token": "write {file: /run/secrets/iam-session} or {env: AWS_SESSION_TOKEN}",
    "access_key_id": "as in AKIAIOSFODNN7EXAMPLE",
    "region": "as in eu-central-1",
    "policies": "write {effect: allow, actions: [elasticache:Connect], resources: [arn:aws:...]}",
    "principal": "say whose key it is, as in arn:aws:iam::123456789012:role/app",
    "effect": "write allow or deny",
    "iam": "write {keys: /etc/shardproxy/iam.yaml, region: eu-central-1}",
    "verifier": "write {url: https://logins.example.com/verify}",
    "url": "write it like https://logins.example.com/verify",
    "keys": "name the file with the access keys, as in /etc/shardproxy/iam.yaml",
    "node_auth": "write {username: proxy, password: {file: /run/secrets/redis-password}}",
    "reads": "write {from: primary}",
    "writes": "write {wait: 1}",
    "failover": "write {enabled: true}",
    "tls": "write {certificate: tls.crt, key: tls.key}",
    "certificates": "write - {certificate: tls.crt, key: tls.key}",
    "node_tls": "write {ca: ca.crt}",
    "tls_endpoints": "write {configuration: 0.0.0.0:7443}",
    "access": "write {users: [{name: app, passwords: [{file: /run/secrets/app-password}]}]}, or open",
    "users": "write - {name: app, passwords: [{file: /run/secrets/app-password}]}",
    "passwords": "write [{sha256: ...}] or [{file: /run/secrets/app-password}]",
    "groups": "write - {name: team, users: [...]}, and groups: [team] under the access of a cluster",
    "commands": "write {deny: [keys], allow: [config|set], rename: {flushall: wipe}}",
    "rename": "write {flushall: wipe}: the command, and the name clients know it under",
    "key_families": 'write - rq for a preset, or - {match: "bull:{queue}:*", hash: "{queue}"}',
    "hash": 'say what is hashed, as in {match: "bull:{queue}:*", hash: "{queue}"}',
    "security_groups": "write - {name: office, inbound: [{from: [10.0.0.0/8]}]}",
    "proxy_protocol": "write {from: [10.0.0.0/8]}: the balancers' addresses",
    "inbound": "name security groups, as in inbound: [office]; a group's own rules are {from: [10.0.0.0/8]}",
    "from": "write [10.0.0.0/8, group:name]",
    "topology": "write {from: sentinel, sentinels: [host:26379, ...], names: [mymaster]}",
    "sentinels": "list all of the Sentinels, as in: sentinels: [10.0.0.1:26379, 10.0.0.2:26379]",
    "names": "write what the Sentinels call the primaries, as in: names: [mymaster]",
    "seeds": "list some nodes of the cluster, as in: seeds: [10.0.0.1:6379, 10.0.0.2:6379]",
    "match": 'say which keys, as in {match: "bull:{queue}:*", hash: "{queue}"}',
    "sources": "write {main: {url: postgresql+psycopg://app@db/app, password: {env: DATABASE_PASSWORD}}}",
    "rules": 'write - {match: "user:{id}", ttl: 5m, load: {source: main, sql: select ... where id = :id}}',
    "load": 'write {source: main, sql: "select name from users where id = :id", as: json}',
    "write": 'write {mode: through, upsert: "insert into ...", delete: "delete from ..."}',
    "mode": "write mode: through, or mode: behind",
    "source": "write source: and a name under sources",
    "invalidate": "write {source: main, channel: cache}",
    "channel": "write channel: and the name in the database's NOTIFY",
}

# The same of keys that mean something else below others: (list or mapping, key).
MISSING_BELOW = {
    (
        "sources",
        "url",
    ): "write url: postgresql+psycopg://app@db/app, or https://...; or python: module:function",
    ("rules", "match"): 'say which keys, as in match: "user:{id}:profile"',
}

# Said of a value that is not written as it must be, by its key.
PATTERNS = {
    "access_key_id": ("is not an access key id", "as in AKIAIOSFODNN7EXAMPLE"),
    "account": ("is not an AWS account", 'write its 12 digits in quotes: "123456789012"'),
    "cluster": ("is not the name of a cluster", "use letters, digits, dots, - and _, as in my-cache"),
    "region": ("is not a region", "as in eu-central-1"),
}

# Keys that are known elsewhere, or under another name: (section, key) or key -> hint.
STRAY: dict[tuple[type[Section], str] | str, str] = {
    (RedisCluster, "nodes"): "the nodes of a Redis cluster stand under its shards: shards: [{nodes: [...]}]",
    (RedisCluster, "hashing"): "hashing is for memcached; Redis keys go by slots",
    (MemcachedCluster, "shards"): "a memcached cluster lists its nodes directly: nodes: [...]",
    (MemcachedCluster, "reads"): "memcached nodes have no replicas to read from",
    (PasswordAuth, "iam"): "memcached knows no tokens: write a password",
    (MemcachedCluster, "pubsub"): "memcached has no channels",
    (FamilyRule, "queues"): "queues are named with preset: celery",
    (FamilyPreset, "match"): "a rule of your own is an entry of its own: - {match: ..., hash: ...}",
    "sentinels": "they stand under topology: {from: sentinel, sentinels: [...], names: [...]}",
    "seeds": "they stand under topology: {from: redis-cluster, seeds: [...]}",
    "replicas": "list them under nodes: the first is the primary, the others are replicas",
    "users_file": "it stands under the access of a cluster: access: {users_file: users.yaml}",
    "requirepass": "write access: {users: [{name: default, passwords: [{file: ...}]}]}",
    "redis_auth": "write access: {users: [{name: default, passwords: [{file: ...}]}]}",
    "acl": "write access: {users: [{name: app, passwords: [...], rules: ...}]}",
    "aclfile": "write access: {users_file: users.yaml}",
    "password": "write passwords: [{file: ...}]",
    "access_string": "write rules:",
    "listen": "the addresses applications connect to stand under endpoints",
    "servers": "use nodes",
    "rename_commands": "write commands: {rename: {flushall: wipe}}",
}

# What an error type says in plain words; {x} come from the error's context.
MESSAGES = {
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be more than {gt:g}",
    "less_than": "must be less than {lt:g}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
}


def explain(error: ValidationError, document: Document, root: type[Section] = Config) -> Iterator[Problem]:
    """Say every error of a validation in the user's words; `root` is what the document was read as."""
    for details in error.errors(include_url=False):
        if details["type"] == "too_short" and details["input"]:
            continue  # it has entries, all broken, and each is reported by itself
        if details["input"] is None:
            continue  # that it has no value is reported with the document
        yield _explain(details, document, root)


def _explain(error: ErrorDetails, document: Document, root: type[Section]) -> Problem:
    loc, is_key = _without_marks(error["loc"])
    kind, context = error["type"], error.get("ctx", {})
    path, missing = _as_written(loc, document.value)
    if kind in ("missing", "union_tag_not_found"):
        path = (*path, _tag_of(path)) if kind == "union_tag_not_found" else (*path, *missing)
        place = document.place(path)
        hint = "write from: sentinel" if path[-2:] == ("topology", "from") else _when_missing(path)
        return Problem(place.line, place.column, show(path), "is missing", hint)
    place = document.key_place(path) if is_key or kind == "extra_forbidden" else document.place(path)
    if kind == "union_tag_invalid":
        path = (*path, _tag_of(path))
        place = document.place(path)
    message, hint = _words(kind, context, error, loc, is_key, root)
    return Problem(place.line, place.column, show(path), message, hint)


def _when_missing(path: Path) -> str | None:
    above = str(path[-3]) if len(path) > 2 else ""
    return MISSING_BELOW.get((above, str(path[-1]))) or MISSING.get(str(path[-1]))


def _tag_of(path: Path) -> str:
    """The key that says which of several sections stands there."""
    return "from" if path[-1:] == ("topology",) else "engine"


def _words(
    kind: str, context: Mapping[str, Any], error: ErrorDetails, loc: Path, is_key: bool, root: type[Section]
) -> tuple[str, str | None]:
    """Return message and hint."""
    if kind == REFUSED:
        return str(context["message"]), context["hint"]
    if kind == "extra_forbidden":
        return MESSAGES[kind], _hint_for_key(loc, root)
    if kind == "union_tag_invalid":
        given = str(context.get("tag", ""))
        if "topology" in loc:
            return f"must be {', '.join(DECIDERS)}", _closest(given, DECIDERS)
        return "must be redis or memcached", _hint_for_engine(given)
    if kind in ("enum", "literal_error"):
        expected = str(context["expected"]).replace("'", "").replace('"', "")
        return f"must be {expected}", _closest(error["input"], expected.replace(" or ", ", ").split(", "))
    if kind == "string_pattern_mismatch":
        return _hint_for_pattern(loc, is_key)
    if kind == "too_short":
        return "needs at least one entry", MISSING.get(str(loc[-1]))
    if kind == "too_long":
        return _too_long(loc, context)
    if kind == "int_from_float":
        return "must be a whole number", None
    template = MESSAGES.get(kind)
    message = template.format_map(context) if template else error["msg"]
    return message, _hint_for_shape(loc) if kind.endswith("_type") else None


def _too_long(loc: Path, context: Mapping[str, Any]) -> tuple[str, str | None]:
    most, have = context["max_length"], context["actual_length"]
    if loc[-1] == "nodes" and "shards" in loc:
        return f"a shard has at most {most - 1} replicas", f"{most} nodes with the primary; these are {have}"
    return f"has {have} entries, at most {most} are possible", None


def _hint_for_pattern(loc: Path, is_key: bool) -> tuple[str, str | None]:
    if is_key and "caching" in loc:
        return (
            "is not a name for a source",
            "use 1-50 letters, digits, - and _; the first is a letter or digit",
        )
    if is_key and "topology" in loc:
        return (
            "is not a name for a shard",
            'digits alone are a shard\'s number: write a mapping, as in names: {first: "1"}',
        )
    if is_key:
        return (
            "is not a name for a cluster",
            "use 1-50 letters, digits, - and _; the first is a letter or digit",
        )
    if loc[-1] == "file":
        return "must be an absolute path", "as in /run/secrets/redis-password"
    if loc[-1] in PATTERNS:
        return PATTERNS[str(loc[-1])]
    if loc[-1] == "sha256":
        return "is not a SHA-256", "64 hexadecimal digits, as from: printf %s 'the password' | sha256sum"
    if loc[-1] == "state":
        return "must be an absolute path", "as in /var/lib/shardproxy/state.json"
    if "admin_names" in loc:
        return "is not a host name", "write the name alone, as in cache-1.example.com"
    if loc[-1] == "name" and "shards" in loc:
        return (
            "is not a name for a shard",
            "use 1-64 letters, digits, dots, - and _, not digits alone: a number is a shard's number",
        )
    if "security_groups" in loc or "inbound" in loc:
        return "is not a name for a group", "use 1-64 letters, digits, dots, - and _"
    if loc[-1] == "env":
        return "is not the name of an environment variable", "as in REDIS_PASSWORD"
    return "cannot have spaces", None


def _hint_for_shape(loc: Path) -> str | None:
    """Show what goes where something of another shape stands."""
    return MISSING.get(str(next((part for part in reversed(loc) if isinstance(part, str)), "")))


def _hint_for_engine(given: str) -> str | None:
    if given.lower() in ("valkey", "keydb", "redis-server", "dragonfly"):
        return "nodes that speak the Redis protocol are engine: redis"
    return _closest(given, ENGINES)


def _closest(given: object, known: Iterable[str]) -> str | None:
    """Guess what was meant."""
    near = difflib.get_close_matches(str(given), list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else None


def _hint_for_key(loc: Path, root: type[Section]) -> str:
    sections = list(_sections_at(loc[:-1], root))
    key = str(loc[-1])
    for section in sections:
        if hint := STRAY.get((section, key)):
            return hint
    known = sorted({name for section in sections for name in _keys(section)})
    return _closest(key, known) or STRAY.get(key) or f"known here: {', '.join(known)}"


def _keys(section: type[Section]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in section.model_fields.items()}


def _sections_at(loc: Path, root: type[Section]) -> Iterator[type[Section]]:
    """Walk from the root to the sections that may stand at a location."""
    here: list[type[Section]] = [root]
    names_next = False  # the next part is a name of the user's choice
    for part in loc:
        if isinstance(part, int) or names_next:
            names_next = False
            continue
        found = [keys[part] for section in here if part in (keys := _keys(section))]
        here = [section for annotation in found for section in _sections_in(annotation)]
        if part in TAGS and not found:
            here = [TAGS[part]]
        names_next = any(get_origin(annotation) is dict for annotation in found)
    yield from here


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections_in(argument)


def _without_marks(loc: tuple[int | str, ...]) -> tuple[Path, bool]:
    """Drop pydantic's mark of an error in a key itself; tell whether there was one."""
    return (loc[:-1], True) if loc and loc[-1] == "[key]" else (loc, False)


def _as_written(loc: Path, value: Any) -> tuple[Path, Path]:
    """Return the part of a location that is in the file, and its last part if that is not.

    A location also names engines, and keys that a short form leaves out: an address alone is {address: ...}.
    """
    path: Path = ()
    for i, part in enumerate(loc):
        if i == 2 and loc[0] == "clusters" and part in ENGINES:
            continue
        if not _has(value, part):
            if i == len(loc) - 1:
                return path, (part,)
            continue
        value = value[part]
        path = (*path, part)
    return path, ()


def _has(value: object, part: int | str) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, Mapping) and part in value
