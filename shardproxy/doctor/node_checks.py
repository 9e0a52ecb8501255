"""What is thought of a node of Redis or Valkey that a cluster of the config has. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shardproxy.config.checks import is_own
from shardproxy.doctor.finding import Finding, bad, ok, warn
from shardproxy.doctor.node import NodeFacts
from shardproxy.doctor.rights import Request, mend_of
from shardproxy.doctor.setting_checks import setting_findings
from shardproxy.doctor.terms import Terms

OLDEST = (6, 2)  # FAILOVER is as old; below it the proxy fails over by REPLICAOF alone


def node_findings(facts: NodeFacts, terms: Terms) -> Iterator[Finding]:
    """Look at everything; of a node that does not answer, at nothing more."""
    about = f"{terms.name} {facts.address}"
    if (unheard := _unheard(facts, about, terms)) is not None:
        yield unheard
        return
    yield _version(facts, about)
    yield from _mode(facts, about, terms)
    yield from _rights(facts, about, terms)
    if facts.is_open and not is_own(facts.address):
        yield warn(
            about,
            "password",
            "whoever reaches it may do everything",
            "clients that go to it past the proxy are neither routed nor kept from anything",
            f'{facts.cli} CONFIG SET requirepass "$PASSWORD"  # and node_auth: in the config',
        )
    yield from _disk(facts, about)
    if facts.why_no_settings is not None:
        yield warn(
            about,
            "settings",
            f"not told: {facts.why_no_settings}",
            "maxmemory, timeouts, buffers and persistence cannot be looked at",
            f"{facts.cli} ACL SETUSER {facts.user or 'default'} '+config|get'",
        )
        return
    yield from setting_findings(facts, about, terms)


def _unheard(facts: NodeFacts, about: str, terms: Terms) -> Finding | None:
    if facts.why_silent is not None:
        return bad(about, "reachable", facts.why_silent, "requests for its slots fail", f"{facts.cli} PING")
    if (refusal := facts.refusal) is None:
        return None
    if refusal.startswith(("NOAUTH", "WRONGPASS")) or "AUTH" in refusal:
        auth = terms.cluster.node_auth
        who = f"user {auth.username or 'default'} of node_auth" if auth is not None else "no node_auth"
        mend = f"{facts.cli} --user {(auth and auth.username) or 'default'} --askpass PING  # then node_auth:"
        return bad(about, "login", f"{who}: {refusal}", "the proxy can do nothing there", mend)
    if refusal.startswith("NOPERM"):
        user = (terms.cluster.node_auth and terms.cluster.node_auth.username) or "default"
        words = mend_of({request: "" for need in terms.needs for request in need.requests})
        return bad(
            about,
            "rights",
            refusal,
            "without INFO it cannot be watched",
            f"{facts.cli} ACL SETUSER {user} {_quoted(words)}",
        )
    return bad(about, "reachable", refusal, "requests for its slots fail", f"{facts.cli} INFO")


def _version(facts: NodeFacts, about: str) -> Finding:
    version = facts.info.get("valkey_version") or facts.info.get("redis_version", "")
    numbers = tuple(int(word) for word in version.split(".")[:2] if word.isdigit())
    name = "Valkey" if "valkey_version" in facts.info else "Redis"
    if len(numbers) == 2 and numbers < OLDEST:
        return warn(
            about,
            "version",
            f"{name} {version}",
            "it has no FAILOVER: a switchover makes writers wait longer",
            "# a replica of 6.2 or newer, and shardproxy switchover; or shardproxy import",
        )
    return ok(about, "version", f"{name} {version}")


def _mode(facts: NodeFacts, about: str, terms: Terms) -> Iterator[Finding]:
    is_clustered = facts.info.get("redis_mode", facts.info.get("server_mode")) == "cluster"
    wanted = terms.cluster.decider.source == "redis-cluster"
    if is_clustered != wanted:
        there, mend = (
            ("a node of a Redis Cluster", "# in the config: topology: {from: redis-cluster}")
            if is_clustered
            else ("no node of a Redis Cluster", "# in the config: leave out topology: {from: redis-cluster}")
        )
        yield bad(about, "mode", there, "the proxy refuses to serve it as the config has it", mend)


def _rights(facts: NodeFacts, about: str, terms: Terms) -> Iterator[Finding]:
    if facts.user is None or facts.why_no_rights is not None:
        told = facts.why_no_rights or "the node knows no users"
        user = facts.user or "default"
        yield warn(
            about,
            "rights",
            f"not told: {told}",
            "whether the proxy may do all that it has to shows when it has to",
            f"{facts.cli} ACL SETUSER {user} '+acl|whoami' '+acl|dryrun' '+acl|getuser'",
        )
        return
    if not facts.missing:
        yield ok(about, "rights", f"user {facts.user} may do all that the proxy does")
        return
    for need in terms.needs:
        missing = {request: facts.missing[request] for request in need.requests if request in facts.missing}
        if not missing:
            continue
        judge = bad if need.is_vital else warn
        words = mend_of(missing)
        yield judge(
            about,
            "rights",
            f"user {facts.user} lacks {words}",
            f"needed {need.purpose}: {_first(missing)}",
            f"{facts.cli} ACL SETUSER {facts.user} {_quoted(words)}",
        )


def _disk(facts: NodeFacts, about: str) -> Iterator[Finding]:
    for field, what in (
        ("rdb_last_bgsave_status", "the last save to disk"),
        ("aof_last_write_status", "the last write to the log"),
    ):
        if facts.info.get(field, "ok") != "ok":
            yield bad(
                about,
                "disk",
                f"{what} failed ({field})",
                "with stop-writes-on-bgsave-error, the default, it takes no writes",
                f"df -h $({facts.cli} CONFIG GET dir | tail -1)",
            )


def _quoted(words: str) -> str:
    return " ".join(f"'{word}'" for word in words.split())


def _first(missing: Mapping[Request, str]) -> str:
    return next(iter(missing.values()))
