"""What security groups say of each other: names used twice or not known, circles, too many addresses.

As `checks`, on the plain values of the file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from shardproxy.config.checks import Finding, Path, show
from shardproxy.config.inbound import MAX_SOURCES, GroupReference, read_sources

Reference = tuple[Path, str]  # where a group is named, and which


def group_findings(config: Mapping[object, object]) -> Iterator[Finding]:
    """Find what is contradictory about security groups and where they are used."""
    groups = _groups(config)
    known = {name for _, name, _ in groups}
    yield from _named_twice(groups)
    inner = [(name, where, to) for path, name, group in groups for where, to in _references(path, group)]
    for where, name in (*_uses(config), *((where, to) for _, where, to in inner)):
        if name not in known:
            yield Finding(where, f"there is no security group {name!r}", _hint(name, known))
    yield from _circles(inner)
    count = sum(len(list(_rule_sources(path, group))) for path, _, group in groups)
    if count > MAX_SOURCES:
        message = f"the groups have {count} addresses, networks and groups in their rules"
        yield Finding(
            ("security_groups",), message, f"at most {MAX_SOURCES} are possible: use wider networks"
        )


def _hint(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return (
        f"there are: {', '.join(sorted(known))}" if known else f"add {{name: {name}, ...}} to security_groups"
    )


def _groups(config: Mapping[object, object]) -> list[tuple[Path, str, Mapping[object, object]]]:
    listed = config.get("security_groups")
    groups = enumerate(listed) if isinstance(listed, (list, tuple)) else ()
    return [
        (("security_groups", place), str(group["name"]), group)
        for place, group in groups
        if isinstance(group, Mapping) and isinstance(group.get("name"), str)
    ]


def _named_twice(groups: list[tuple[Path, str, Mapping[object, object]]]) -> Iterator[Finding]:
    seen: dict[str, Path] = {}
    for path, name, _ in groups:
        where: Path = (*path, "name")
        if (first := seen.setdefault(name, where)) != where:
            yield Finding(where, f"{name!r} already names another group, at {show(first)}")


def _rule_sources(path: Path, group: Mapping[object, object]) -> Iterator[tuple[Path, object]]:
    rules = group.get("inbound")
    for place, rule in enumerate(rules) if isinstance(rules, (list, tuple)) else ():
        if isinstance(rule, Mapping):
            yield from _sources((*path, "inbound", place, "from"), rule.get("from"))


def _sources(path: Path, value: Any) -> Iterator[tuple[Path, object]]:
    for place, source in read_sources(value):
        yield path if place is None else (*path, place), source


def _references(path: Path, group: Mapping[object, object]) -> list[Reference]:
    return [
        (where, source.name)
        for where, source in _rule_sources(path, group)
        if isinstance(source, GroupReference)
    ]


def _uses(config: Mapping[object, object]) -> Iterator[Reference]:
    """Where groups are used: by clusters, balancers' addresses, and the admin API."""
    yield from _names(("admin_access",), config.get("admin_access"))
    clusters = config.get("clusters")
    for name, cluster in clusters.items() if isinstance(clusters, Mapping) else ():
        if not isinstance(cluster, Mapping):
            continue
        path: Path = ("clusters", str(name))
        yield from _names((*path, "access"), cluster.get("access"))
        for key in ("endpoints", "tls_endpoints"):
            endpoints = cluster.get(key)
            for kind, endpoint in endpoints.items() if isinstance(endpoints, Mapping) else ():
                protocol = endpoint.get("proxy_protocol") if isinstance(endpoint, Mapping) else None
                if isinstance(protocol, Mapping):
                    at: Path = (*path, key, str(kind), "proxy_protocol", "from")
                    for where, source in _sources(at, protocol.get("from")):
                        if isinstance(source, GroupReference):
                            yield where, source.name


def _names(path: Path, section: object) -> Iterator[Reference]:
    named = section.get("inbound") if isinstance(section, Mapping) else None
    at: Path = (*path, "inbound")
    if isinstance(named, str):
        yield at, named
    for place, name in enumerate(named) if isinstance(named, (list, tuple)) else ():
        if isinstance(name, str):
            yield (*at, place), name


def _circles(references: list[tuple[str, Path, str]]) -> Iterator[Finding]:
    """Find groups that are named, by way of others, by themselves: each circle once, where it closes."""
    outgoing: dict[str, list[tuple[Path, str]]] = {}
    for name, where, to in references:
        outgoing.setdefault(name, []).append((where, to))
    done: set[str] = set()
    for start in outgoing:
        trail: dict[str, Iterator[tuple[Path, str]]] = {}  # names on the way, with what is not followed yet
        if start not in done:
            trail[start] = iter(outgoing[start])
        while trail:
            name, rest = next(reversed(trail.items()))
            where, to = next(rest, ((), ""))
            if not where:
                done.add(name)
                del trail[name]
            elif to in trail:
                around = [*list(trail)[list(trail).index(to) :], to]
                message = "a group cannot name itself" if to == name else f"is a circle: {' > '.join(around)}"
                yield Finding(where, message, "leave this one out")
            elif to not in done:
                trail[to] = iter(outgoing.get(to, ()))
