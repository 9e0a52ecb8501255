"""What a bad file gets: every problem, its place, its key, plain words, a hint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.config import Config, ConfigError, Problem, load_config, parse_config

# Lines 1-5; what a case adds starts at line 6, inside the cluster.
HEAD = """\
clusters:
  main:
    engine: redis
    endpoints: {configuration: 127.0.0.1:7000}
    shards: [{nodes: ["127.0.0.1:6379"]}]
"""
OPEN = "    access: open\n"  # where endpoints are not on loopback

POOL = """\
clusters:
  pages:
    engine: memcached
    endpoints: {configuration: 127.0.0.1:1}
    nodes: ["a:1"]
"""
NAMED = '["a:1", {address: "b:1", name: n, weight: 0}, {address: "c:1", name: n}]'


def cluster(endpoints: str = "{configuration: 127.0.0.1:7000}", shards: str = "") -> str:
    """A file whose shards start at line 5."""
    return f"clusters:\n  main:\n    engine: redis\n    endpoints: {endpoints}\n    shards:\n{shards}"


def shard(text: str) -> str:
    return f"      - {text}\n"


def problems(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    return list(caught.value.problems)


ONE = shard('nodes: ["127.0.0.1:6379"]')

# text, then for every problem: line, column, path, message, part of the hint
CASES: dict[str, tuple[str, list[tuple[int, int, str, str, str]]]] = {
    "unknown key": (
        HEAD + "workes: 3\n",
        [(6, 1, "workes", "is not a known key", "did you mean workers?")],
    ),
    "several shards cannot be relaxed": (
        cluster(shards=ONE + shard('nodes: ["127.0.0.1:6380"]')) + "    slots: relaxed\n",
        [
            (
                2,
                3,
                "clusters.main",
                "slots: relaxed needs a cluster of one shard: no engine has the keys of several",
                "key_families puts keys that are used together into one slot",
            )
        ],
    ),
    "several shards have one database": (
        cluster(shards=ONE + shard('nodes: ["127.0.0.1:6380"]')) + "    databases: 16\n",
        [(2, 3, "clusters.main", "several shards have database 0 alone, not 16", "leave out databases:")],
    ),
    "a strict shard has one database": (
        HEAD + "    slots: strict\n    databases: 2\n",
        [(2, 3, "clusters.main", "slots: strict leaves database 0 alone, not 2", "leave out databases:")],
    ),
    "slots of a cluster are not a shard's": (
        HEAD + "    slots: 0-8191\n",
        [(6, 12, "clusters.main.slots", "must be relaxed or strict", "")],
    ),
    "databases that are too many": (
        HEAD + "    databases: 5000\n",
        [(6, 16, "clusters.main.databases", "must be at most 1024", "")],
    ),
    "a certificate without its key": (
        HEAD + "    tls: {certificate: tls.crt}\n",
        [(6, 5, "clusters.main.tls", "certificate needs its key", "add key:")],
    ),
    "no certificate": (
        HEAD + "    tls: {minimum: 1.3}\n",
        [(6, 5, "clusters.main.tls", "names no certificate", "write {certificate: tls.crt")],
    ),
    "users by certificates nobody asks for": (
        HEAD + "    tls: {certificate: a, key: b, user: cn}\n",
        [(6, 5, "clusters.main.tls", "user needs client_ca", "add client_ca")],
    ),
    "a version of TLS that is none": (
        HEAD + "    tls: {certificate: a, key: b, minimum: 1.1}\n",
        [(6, 44, "clusters.main.tls.minimum", "must be 1.2 or 1.3", "")],
    ),
    "TLS endpoints without TLS": (
        HEAD + "    tls_endpoints: {reader: 127.0.0.1:7443}\n",
        [(2, 3, "clusters.main", "tls_endpoints need tls", "add tls:")],
    ),
    "TLS over a unix socket": (
        HEAD.replace("127.0.0.1:7000", "unix:/x.sock") + "    tls: {certificate: a, key: b}\n",
        [(2, 3, "clusters.main", "TLS is not spoken at unix:/x.sock", "unix sockets are plain")],
    ),
    "TLS to a node on a unix socket": (
        HEAD.replace("127.0.0.1:6379", "unix:/n.sock") + "    node_tls: {ca: ca.crt}\n",
        [(2, 3, "clusters.main", "TLS is not spoken at unix:/n.sock", "unix sockets are plain")],
    ),
    "an address with and without TLS": (
        HEAD + "    tls: {certificate: a, key: b}\n    tls_endpoints: {reader: 127.0.0.1:7000}\n",
        [
            (
                7,
                29,
                "clusters.main.tls_endpoints.reader",
                "127.0.0.1:7000 is already listened on, at clusters.main.endpoints.configuration",
                "its own port",
            )
        ],
    ),
    "state that is no path": (
        HEAD + "state: state.json\n",
        [(6, 8, "state", "must be an absolute path", "/var/lib")],
    ),
    "admin name with a port": (
        HEAD + "admin_names: [proxy:9700]\n",
        [(6, 15, "admin_names[0]", "is not a host name", "the name alone")],
    ),
    "unknown key without a neighbour": (
        HEAD + "log: {colour: red}\n",
        [(6, 7, "log.colour", "is not a known key", "known here: format, level")],
    ),
    "unknown key in a cluster": (
        HEAD + "    read: {from: primary}\n",
        [(6, 5, "clusters.main.read", "is not a known key", "did you mean reads?")],
    ),
    "a cluster may be called like a key": (
        HEAD.replace("main", "shards") + "    read: {from: primary}\n",
        [(6, 5, "clusters.shards.read", "is not a known key", "did you mean reads?")],
    ),
    "key of the other engine": (
        HEAD + "    hashing: ketama\n",
        [(6, 5, "clusters.main.hashing", "is not a known key", "hashing is for memcached")],
    ),
    "engine missing": (
        HEAD.replace("    engine: redis\n", ""),
        [(2, 3, "clusters.main.engine", "is missing", "engine: redis or engine: memcached")],
    ),
    "engine missing, and more": (
        HEAD.replace("engine", "engin").replace("configuration", "configuraton")
        + "    limits: {clients: x}\n",
        [
            (2, 3, "clusters.main.engine", "is missing", "engine: redis or engine: memcached"),
            (3, 5, "clusters.main.engin", "is not a known key", "did you mean engine?"),
            (
                4,
                17,
                "clusters.main.endpoints.configuraton",
                "is not a known key",
                "did you mean configuration?",
            ),
            (6, 23, "clusters.main.limits.clients", "must be a whole number", ""),
        ],
    ),
    "engine unknown, and more": (
        POOL.replace("engine: memcached", "engine: memcache").replace('"a:1"', '"a"'),
        [
            (3, 13, "clusters.pages.engine", "must be redis or memcached", "did you mean memcached?"),
            (5, 13, "clusters.pages.nodes[0]", "'a': expected host:port", ""),
        ],
    ),
    "engine unknown": (
        HEAD.replace("engine: redis", "engine: valkey"),
        [(3, 13, "clusters.main.engine", "must be redis or memcached", "are engine: redis")],
    ),
    "no endpoints": (
        HEAD.replace("    endpoints: {configuration: 127.0.0.1:7000}\n", ""),
        [(2, 3, "clusters.main.endpoints", "is missing", "endpoints: {configuration:")],
    ),
    "empty endpoints": (
        HEAD.replace("{configuration: 127.0.0.1:7000}", "{}"),
        [(4, 5, "clusters.main.endpoints", "no endpoint is given", "configuration: 127.0.0.1:7000")],
    ),
    "endpoint without address": (
        HEAD.replace("127.0.0.1:7000", "{mode: proxy}"),
        [(4, 17, "clusters.main.endpoints.configuration.address", "is missing", "127.0.0.1:6379")],
    ),
    "endpoint without port": (
        HEAD.replace("127.0.0.1:7000", "[localhost]"),
        [
            (
                4,
                33,
                "clusters.main.endpoints.configuration[0]",
                "'localhost': expected host:port, [ipv6]:port or unix:/path",
                "",
            )
        ],
    ),
    "advertise that is not used": (
        HEAD.replace("127.0.0.1:7000", '{address: "h:1", mode: direct, advertise: "h:2"}') + OPEN,
        [(4, 17, "clusters.main.endpoints.configuration", "advertise has no meaning in mode direct", "")],
    ),
    "mode": (
        HEAD.replace("127.0.0.1:7000", '{address: "h:1", mode: proxi}') + OPEN,
        [
            (
                4,
                55,
                "clusters.main.endpoints.configuration.mode",
                "must be proxy or direct",
                "did you mean proxy?",
            )
        ],
    ),
    "reads": (
        HEAD + "    reads: {from: slave}\n",
        [(6, 19, "clusters.main.reads.from", "must be primary, replica or nearest", "")],
    ),
    "reads in short": (
        HEAD + "    reads: primary\n",
        [(6, 12, "clusters.main.reads", "must be a mapping of keys to values", "{from: primary}")],
    ),
    "commands nobody knows": (
        HEAD + "    commands: {deny: [gett, nothing-like-it], allow: debgu, rename: {'config|gett': x}}\n",
        [
            (6, 23, "clusters.main.commands.deny[0]", "gett is not a command", "did you mean get?"),
            (6, 29, "clusters.main.commands.deny[1]", "nothing-like-it is not a command", ""),
            (6, 54, "clusters.main.commands.allow", "debgu is not a command", "did you mean debug?"),
            (
                6,
                70,
                "clusters.main.commands.rename.config|gett",
                "config|gett is not a command",
                "did you mean config|get?",
            ),
        ],
    ),
    "commands that cannot be allowed, or need not": (
        HEAD + "    commands: {allow: [shutdown, get, acl]}\n",
        [
            (
                6,
                24,
                "clusters.main.commands.allow[0]",
                "shutdown cannot be allowed: nodes are stopped by whoever runs them",
                "",
            ),
            (6, 34, "clusters.main.commands.allow[1]", "get is allowed as it is", "config|set"),
        ],
    ),
    "a command that has its name already": (
        HEAD + "    commands: {rename: {get: set}}\n",
        [
            (
                6,
                5,
                "clusters.main.commands",
                "get is renamed to set, which is a command itself",
                "another name",
            )
        ],
    ),
    "two commands of one name": (
        HEAD + "    commands: {rename: {get: x, set: X}}\n",
        [(6, 5, "clusters.main.commands", "get and set are both renamed to x", "another name")],
    ),
    "names no command can have": (
        HEAD + "    commands: {rename: {get: 'a b', set: '', 'config|set': x}}\n",
        [
            (
                6,
                30,
                "clusters.main.commands.rename.get",
                "is not a name for a command: use ASCII characters, no space and no |",
                "",
            ),
            (
                6,
                37,
                "clusters.main.commands.rename.set",
                "is not a name for a command: use ASCII characters, no space and no |",
                "list it under deny",
            ),
            (
                6,
                46,
                "clusters.main.commands.rename.config|set",
                "config|set is a subcommand, and only whole commands can be renamed",
                "",
            ),
        ],
    ),
    "a family of an unknown library": (
        HEAD + "    key_families: [rqq]\n",
        [
            (
                6,
                20,
                "clusters.main.key_families[0]",
                "must be bullmq, celery, rq or sidekiq",
                "did you mean rq?",
            )
        ],
    ),
    "a family without a hash": (
        HEAD + '    key_families: [{match: "a:*"}]\n',
        [(6, 20, "clusters.main.key_families[0].hash", "is missing", "say what is hashed, as in")],
    ),
    "a key of another kind of family": (
        HEAD + '    key_families: [{preset: rq, match: "a:*"}]\n',
        [(6, 33, "clusters.main.key_families[0].match", "is not a known key", "an entry of its own")],
    ),
    "a misspelt key of a family": (
        HEAD + "    key_families: [{match: a, hash: b, hsh: c}]\n",
        [(6, 40, "clusters.main.key_families[0].hsh", "is not a known key", "did you mean hash?")],
    ),
    "a hash that is not in the pattern": (
        HEAD + '    key_families: [{match: "a:{b}:*", hash: "{c}"}]\n',
        [(6, 20, "clusters.main.key_families[0]", "{c} stands 0 times in match, and has to once", "{b}")],
    ),
    "a hash of a part and more": (
        HEAD + '    key_families: [{match: "a:{b}:*", hash: "x{b}"}]\n',
        [
            (
                6,
                20,
                "clusters.main.key_families[0]",
                "hash is a {name} of the pattern or a text without braces, not x{b}",
                "as in hash:",
            )
        ],
    ),
    "a pattern that is not closed": (
        HEAD
        + '    key_families: [{match: "a:{b", hash: x}, {match: "a[", hash: x}, {match: "{}a", hash: x}]\n',
        [
            (6, 20, "clusters.main.key_families[0]", "the { in match is not closed", '"[{]"'),
            (6, 46, "clusters.main.key_families[1]", "the [ in match is not closed", ""),
            (6, 70, "clusters.main.key_families[2]", "{} in match has no name", ""),
        ],
    ),
    "a pattern without an end between its parts": (
        HEAD + '    key_families: [{match: "a:{b}*", hash: x}]\n',
        [
            (
                6,
                20,
                "clusters.main.key_families[0]",
                "two parts in match stand next to each other: nothing tells where one ends",
                "put a text between",
            )
        ],
    ),
    "a set that runs backwards": (
        HEAD + '    key_families: [{match: "a[9-0]", hash: x}, {match: "a[]", hash: x}]\n',
        [
            (6, 20, "clusters.main.key_families[0]", "[9-0] in match runs backwards", "[0-9a-f]"),
            (6, 48, "clusters.main.key_families[1]", "[] in match is no set of ASCII characters", ""),
        ],
    ),
    "queues of a library that names its own": (
        HEAD + "    key_families: [{preset: rq, queues: [a]}, {preset: celery, queues: ['a*']}]\n",
        [
            (6, 20, "clusters.main.key_families[0]", "rq queues are known by their keys", "leave out queues"),
            (
                6,
                73,
                "clusters.main.key_families[1].queues[0]",
                "stands for itself here, so * [ ] { } cannot be in it",
                "",
            ),
        ],
    ),
    "families that clients would not follow": (
        HEAD.replace("127.0.0.1:7000", '{address: "h:1", mode: direct}') + "    key_families: [rq]\n" + OPEN,
        [(2, 3, "clusters.main", "key_families and mode: direct contradict each other", "leave out mode")],
    ),
    "more workers than the data plane starts": (
        HEAD + "workers: 256\n",
        [(6, 10, "workers", "must be auto or a number from 1 to 255", "one per CPU")],
    ),
    "workers": (
        HEAD + "workers: 0\n",
        [(6, 10, "workers", "must be auto or a number from 1 to 255", "one per CPU")],
    ),
    "duration": (
        HEAD + "    timeouts: {reply: 5 parsecs}\n",
        [(6, 23, "clusters.main.timeouts.reply", "is not a duration", "500ms")],
    ),
    "deadline of nothing": (
        HEAD + "    timeouts: {connect: 0}\n",
        [(6, 25, "clusters.main.timeouts.connect", "must be at least 1ms", "500ms")],
    ),
    "size": (
        HEAD + "    limits: {request: 5 parsecs}\n",
        [(6, 23, "clusters.main.limits.request", "is not a size", "64kb")],
    ),
    "count": (
        HEAD + "    limits: {clients: -1, in_flight: 1.5}\n",
        [
            (6, 23, "clusters.main.limits.clients", "must be at least 0", ""),
            (6, 38, "clusters.main.limits.in_flight", "must be a whole number", ""),
        ],
    ),
    "count in words": (
        HEAD + "    limits: {clients: many}\n",
        [(6, 23, "clusters.main.limits.clients", "must be a whole number", "")],
    ),
    "no value": (
        HEAD + "    limits:\n",
        [(6, 5, "clusters.main.limits", "has no value", "give it one, or remove the key")],
    ),
    "no clusters": (
        "workers: 2\n",
        [(1, 1, "clusters", "is missing", "name at least one cluster")],
    ),
    "empty clusters": (
        "clusters: {}\n",
        [(1, 1, "clusters", "needs at least one entry", "name at least one cluster")],
    ),
    "clusters as a list": (
        "clusters: [main]\n",
        [(1, 1, "clusters", "must be a mapping of keys to values", "name at least one cluster")],
    ),
    "cluster name": (
        HEAD.replace("main", '"my cluster"'),
        [(2, 3, "clusters.my cluster", "is not a name for a cluster", "1-50 letters")],
    ),
    "no shards": (
        HEAD.replace('[{nodes: ["127.0.0.1:6379"]}]', "[]"),
        [(5, 5, "clusters.main.shards", "needs at least one entry", "shards: [{nodes:")],
    ),
    "nodes not under shards": (
        HEAD.replace("shards: [{nodes: [", "nodes: [").replace("]}]", "]"),
        [
            (2, 3, "clusters.main.shards", "is missing", "shards: [{nodes:"),
            (5, 5, "clusters.main.nodes", "is not a known key", "stand under its shards"),
        ],
    ),
    "251 shards": (
        cluster(shards="".join(shard(f'nodes: ["127.0.0.1:{1000 + i}"]') for i in range(251))),
        [(5, 5, "clusters.main.shards", "has 251 entries, at most 250 are possible", "")],
    ),
    "6 replicas": (
        cluster(shards=shard("nodes: [" + ", ".join(f'"127.0.0.1:{1000 + i}"' for i in range(7)) + "]")),
        [
            (
                6,
                9,
                "clusters.main.shards[0].nodes",
                "a shard has at most 5 replicas",
                "6 nodes with the primary",
            )
        ],
    ),
    "a node as a number": (
        cluster(shards=shard("nodes: [6379]")),
        [(6, 17, "clusters.main.shards[0].nodes[0]", "must be a mapping of keys to values", "nodes:")],
    ),
    "a node without port": (
        cluster(shards=shard("nodes: [localhost]")),
        [
            (
                6,
                17,
                "clusters.main.shards[0].nodes[0]",
                "'localhost': expected host:port, [ipv6]:port or unix:/path",
                "",
            )
        ],
    ),
    "a node at port 0": (
        cluster(shards=shard('nodes: [{address: "localhost:0"}]')),
        [(6, 27, "clusters.main.shards[0].nodes[0].address", "port 0 cannot be connected to", "the port")],
    ),
    "names that are no shard's": (
        cluster(
            shards=shard('{name: 17, nodes: ["a:1"]}')
            + shard('{name: "17", nodes: ["a:2"]}')
            + shard('{name: "new users", nodes: ["a:3"]}')
            + shard('{name: "", nodes: ["a:4"]}')
            + shard(f'{{name: {"x" * 65}, nodes: ["a:5"]}}')
        ),
        [
            (6, 16, "clusters.main.shards[0].name", "must be text", ""),
            *(
                (line, column, f"clusters.main.shards[{line - 6}].name", "is not a name for a shard", "alone")
                for line, column in ((7, 16), (8, 16), (9, 10))
            ),
            (10, 16, "clusters.main.shards[4].name", "must have at most 64 characters", ""),
        ],
    ),
    "a shard's name twice": (
        cluster(
            shards=shard('{name: a.b-c_1, nodes: ["a:1"]}')
            + shard('{nodes: ["a:2"]}')
            + shard('{name: a.b-c_1, nodes: ["a:3"]}')
        ),
        [
            (
                8,
                16,
                "clusters.main.shards[2].name",
                "'a.b-c_1' already names another shard, at clusters.main.shards[0].name",
                "",
            )
        ],
    ),
    "a node twice": (
        cluster(shards=ONE + shard('nodes: [{address: "localhost:6379"}]')),
        [
            (
                7,
                27,
                "clusters.main.shards[1].nodes[0].address",
                "localhost:6379 is already a node of this cluster, at clusters.main.shards[0].nodes[0]",
                "",
            )
        ],
    ),
    "an endpoint twice": (
        HEAD.replace("127.0.0.1:7000}", '127.0.0.1:7000, reader: ["127.0.0.1:7001", "0.0.0.0:7000"]}') + OPEN,
        [
            (
                4,
                75,
                "clusters.main.endpoints.reader[1]",
                "0.0.0.0:7000 is already listened on, at clusters.main.endpoints.configuration",
                "its own port",
            )
        ],
    ),
    "a node of two clusters": (
        HEAD + HEAD.replace("clusters:\n", "").replace("main", "two").replace("7000", "7001"),
        [
            (
                9,
                23,
                "clusters.two.shards[0].nodes[0]",
                "127.0.0.1:6379 is already a node of cluster main, at clusters.main.shards[0].nodes[0]",
                "would empty, and fail over",
            )
        ],
    ),
    "a unix socket twice": (
        HEAD.replace("127.0.0.1:7000}", '"unix:/a/../b/x.sock", reader: "unix:/b//x.sock"}'),
        [
            (
                4,
                63,
                "clusters.main.endpoints.reader",
                "unix:/b//x.sock is already listened on, at clusters.main.endpoints.configuration",
                "its own path",
            )
        ],
    ),
    "an address of all addresses": (
        HEAD.replace("127.0.0.1:7000}", '10.0.0.5:7000, reader: "0.0.0.0:7000"}') + OPEN,
        [
            (
                4,
                55,
                "clusters.main.endpoints.reader",
                "0.0.0.0:7000 is already listened on, at clusters.main.endpoints.configuration",
                "its own port",
            )
        ],
    ),
    "an endpoint that is the default admin address": (
        HEAD.replace("7000", "9700"),
        [
            (
                4,
                32,
                "clusters.main.endpoints.configuration",
                "127.0.0.1:9700 is already listened on, as the default of admin",
                "its own port",
            )
        ],
    ),
    "a node that is the default admin address": (
        HEAD.replace("127.0.0.1:6379", "localhost:9700"),
        [
            (
                5,
                23,
                "clusters.main.shards[0].nodes[0]",
                "localhost:9700 is listened on, as the default of admin",
                "set admin:",
            )
        ],
    ),
    "limits under which nothing works": (
        HEAD + "    limits: {request: 10, client_output: 1kb, shard_queue: 1}\nlimits: {buffers: 64kb}\n",
        [
            (6, 23, "clusters.main.limits.request", "must be at least 1kb", "0 is no limit"),
            (6, 42, "clusters.main.limits.client_output", "must be at least 64kb", "0 is no limit"),
            (6, 60, "clusters.main.limits.shard_queue", "must be at least 64kb", "0 is no limit"),
            (7, 19, "limits.buffers", "must be at least 1mb", "0 is no limit"),
        ],
    ),
    "an endpoint of two clusters": (
        HEAD + HEAD.replace("clusters:\n", "").replace("main", "two").replace("6379", "6380"),
        [
            (
                8,
                32,
                "clusters.two.endpoints.configuration",
                "127.0.0.1:7000 is already listened on, at clusters.main.endpoints.configuration",
                "its own port",
            )
        ],
    ),
    "an endpoint that is the admin address": (
        HEAD + "admin: 127.0.0.1:7000\n",
        [
            (
                4,
                32,
                "clusters.main.endpoints.configuration",
                "127.0.0.1:7000 is already listened on, at admin",
                "its own port",
            )
        ],
    ),
    "an endpoint that is a node": (
        HEAD.replace("7000", "6379"),
        [
            (
                4,
                32,
                "clusters.main.endpoints.configuration",
                "127.0.0.1:6379 is the address of a node, at clusters.main.shards[0].nodes[0]",
                "another port",
            )
        ],
    ),
    "slots": (
        cluster(shards=shard('{slots: "5-1", nodes: ["a:1"]}') + shard('nodes: ["a:2"]')),
        [(6, 17, "clusters.main.shards[0].slots", "5-1 runs backwards", '"0-8191"')],
    ),
    "slots overlap": (
        cluster(
            shards=shard('{slots: 0-9000, nodes: ["a:1"]}')
            + shard('{nodes: ["a:2"], slots: "9000-16000"}')
            + shard('nodes: ["a:3"]')
        ),
        [
            (
                7,
                33,
                "clusters.main.shards[1].slots",
                "slots 9000 already belong to shards[0]",
                "each slot has one owner",
            )
        ],
    ),
    "slots missing": (
        cluster(shards=shard('{slots: 0-99, nodes: ["a:1"]}') + shard('{slots: 200-16383, nodes: ["a:2"]}')),
        [(5, 5, "clusters.main.shards", "slots 100-199 belong to no shard", "it takes what is left")],
    ),
    "slots all taken": (
        cluster(shards=shard('{slots: 0-16383, nodes: ["a:1"]}') + shard('nodes: ["a:2"]')),
        [(7, 9, "clusters.main.shards[1]", "no slots are left for this shard", "cover them all")],
    ),
    "node types": (
        cluster(shards=shard('nodes: [{address: "a:1", type: large}, "a:2", {address: "a:3", type: small}]')),
        [
            (
                6,
                78,
                "clusters.main.shards[0].nodes[2].type",
                "node type small differs from large at clusters.main.shards[0].nodes[0].type",
                "one type",
            )
        ],
    ),
    "node type of the cluster": (
        cluster(shards=shard('nodes: [{address: "a:1", type: large}]')) + "    node_type: small\n",
        [
            (
                6,
                40,
                "clusters.main.shards[0].nodes[0].type",
                "node type large differs from small at clusters.main.node_type",
                "one type",
            )
        ],
    ),
    "memcached": (
        POOL.replace("127.0.0.1:1}", "127.0.0.1:1, reader: 127.0.0.1:2}").replace('["a:1"]', NAMED)
        + "    hashing: ketma\n    shards: []\n",
        [
            (4, 45, "clusters.pages.endpoints.reader", "is not a known key", "known here: configuration"),
            (5, 54, "clusters.pages.nodes[1].weight", "must be at least 1", ""),
            (
                5,
                81,
                "clusters.pages.nodes[2].name",
                "'n' already names another node, at clusters.pages.nodes[1].name",
                "",
            ),
            (
                6,
                14,
                "clusters.pages.hashing",
                "must be slots, ketama, ketama-libmemcached, ketama-libmemcached-unweighted, ketama-spy, ",
                "did you mean ketama?",
            ),
            (7, 5, "clusters.pages.shards", "is not a known key", "lists its nodes directly"),
        ],
    ),
    "hash function of a method that has its own": (
        POOL + "    hashing: {method: ketama-spy, hash: md5}\n",
        [(6, 5, "clusters.pages.hashing", "ketama-spy has a hash function of its own", "leave out hash")],
    ),
    "a hash function that is not there": (
        POOL + "    hashing: {method: ketama, hash: hsieh}\n",
        [(6, 5, "clusters.pages.hashing", "the hash function hsieh is not available", "choose another")],
    ),
    "hash tag beyond ASCII": (
        POOL + '    hashing: {tag: "«»"}\n',
        [(6, 5, "clusters.pages.hashing", "a hash tag is two ASCII characters", "{}")],
    ),
    "weights that nobody knows": (
        POOL.replace('["a:1"]', '["a:1", {address: "b:1", weight: 2}]') + "    hashing: rendezvous\n",
        [(2, 3, "clusters.pages", "rendezvous knows no weights, and b:1 has one", "leave out weight")],
    ),
    "a host name without its address": (
        POOL.replace('["a:1"]', '["10.0.0.1:1", {address: "a:1", name: "a/10.0.0.2:1"}, "b:1"]')
        + "    hashing: ketama-spy\n",
        [(2, 3, "clusters.pages", "ketama-spy hashes host name and IP address, and b:1", "b/10.0.0.1:11211")],
    ),
    "security groups that nobody knows": (
        HEAD + "    access: {inbound: [ofice]}\nsecurity_groups:\n"
        '  - {name: office, inbound: [{from: ["group:pods"]}]}\n',
        [
            (6, 24, "clusters.main.access.inbound[0]", "there is no security group 'ofice'", "mean office?"),
            (
                8,
                38,
                "security_groups[0].inbound[0].from[0]",
                "there is no security group 'pods'",
                "there are: office",
            ),
        ],
    ),
    "a balancer of no known group": (
        cluster(
            '{primary: {address: "127.0.0.1:1", proxy_protocol: {from: "group:lb"}}}',
            ONE,
        ),
        [
            (
                4,
                74,
                "clusters.main.endpoints.primary.proxy_protocol.from",
                "there is no security group 'lb'",
                "add {name: lb, ...} to security_groups",
            )
        ],
    ),
    "security groups in a circle": (
        HEAD + "security_groups:\n"
        '  - {name: a, inbound: [{from: ["group:b", 10.0.0.1]}]}\n'
        '  - {name: b, inbound: [{from: 10.0.0.2}, {from: ["group:c", "group:d"]}]}\n'
        '  - {name: c, inbound: [{from: "group:a"}]}\n'
        '  - {name: d, inbound: [{from: "group:d"}]}\n',
        [
            (
                9,
                32,
                "security_groups[2].inbound[0].from",
                "is a circle: a > b > c > a",
                "leave this one out",
            ),
            (10, 32, "security_groups[3].inbound[0].from", "a group cannot name itself", ""),
        ],
    ),
    "security groups with one name": (
        HEAD + "security_groups:\n  - {name: a, inbound: []}\n  - {name: a, inbound: []}\n",
        [
            (
                8,
                12,
                "security_groups[1].name",
                "'a' already names another group, at security_groups[0].name",
                "",
            )
        ],
    ),
    "sources that are none": (
        HEAD + "security_groups:\n"
        "  - {name: a, inbound: [{from: [10.0.0.1/8, pods, 7, fe80::1%eth0, 'group:a b']}]}\n",
        [
            (7, 33, "security_groups[0].inbound[0].from[0]", "10.0.0.1/8 has bits behind its", "10.0.0.0/8,"),
            (7, 45, "security_groups[0].inbound[0].from[1]", "'pods' is not an address", "or group:name"),
            (7, 51, "security_groups[0].inbound[0].from[2]", "must be text", "10.0.0.0/8"),
            (
                7,
                54,
                "security_groups[0].inbound[0].from[3]",
                "fe80::1%eth0 names an interface",
                "leave out %",
            ),
            (7, 68, "security_groups[0].inbound[0].from[4]", "'a b' is not a name for a group", "letters"),
        ],
    ),
    "too many sources": (
        HEAD
        + "security_groups:\n"
        + "".join(
            f"  - {{name: g{n}, inbound: [{{from: [{', '.join(['10.0.0.1'] * 501)}]}}]}}\n" for n in (1, 2)
        ),
        [
            (
                6,
                1,
                "security_groups",
                "the groups have 1002 addresses, networks and groups in their rules",
                "at most 1000",
            )
        ],
    ),
    "hash tag": (
        POOL + '    hashing: {tag: "{"}\n',
        [(6, 20, "clusters.pages.hashing.tag", "must have at least 2 characters", "")],
    ),
    "a key that is a number": (
        HEAD + "7: seven\n",
        [
            (6, 1, "", "a key must be text", 'put it in quotes: "7"'),
            (6, 1, "7", "is not a known key", "known here: admin"),
        ],
    ),
    "a key twice": (
        HEAD + "workers: 1\nworkers: 2\n    ".rstrip(" "),
        [(7, 1, "workers", "is given twice, first in line 6", "remove one of them")],
    ),
    "an unknown YAML tag": (
        HEAD + "workers: !secret 3\n",
        [
            (6, 10, "workers", "YAML tag !secret is not supported", "remove the tag"),
            (6, 10, "workers", "must be auto or a number from 1 to 255", "one per CPU"),
        ],
    ),
    "a list at the top": (
        "- a\n",
        [(1, 1, "", "must be a mapping of keys to values at the top", "standalone.yaml")],
    ),
    "text at the top": (
        "hello\n",
        [(1, 1, "", "must be a mapping of keys to values at the top", "standalone.yaml")],
    ),
    "an empty file": ("", [(0, 0, "", "is empty", "standalone.yaml")]),
    "only comments": ("# nothing\n---\n", [(0, 0, "", "is empty", "standalone.yaml")]),
    "a tab": (
        "clusters:\n\tmain: 1\n",
        [(2, 1, "", "is not YAML: found character '\\t' that", "spaces, not tabs")],
    ),
    "an open bracket": (
        "a: [1, 2\nb: 3\n",
        [(2, 2, "", "is not YAML: expected ',' or ']'", "a bracket is not closed")],
    ),
    "an open quote": (
        "a: 'x\n",
        [(2, 1, "", "is not YAML: found unexpected end of stream", "is not closed")],
    ),
    "two documents": (
        "a: 1\n---\nb: 2\n",
        [(2, 1, "", "is not YAML: but found another document", "one document")],
    ),
    "an unquoted IPv6 address": (
        "a: [::1]:70\n",
        [(1, 9, "", "is not YAML: expected <block end>", "in quotes")],
    ),
    "an unknown alias": (
        "a: *b\n",
        [(1, 4, "", "is not YAML: found undefined alias", "define it before")],
    ),
    "an alias in itself": (
        HEAD + "log: &log {level: *log}\n",
        [(6, 6, "log.level", "an alias contains itself", "")],
    ),
    "merging what is no mapping": (
        HEAD + "<<: 3\n",
        [(6, 5, "", "<< takes a mapping or a list of mappings", "")],
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_a_problem_has_place_key_words_and_hint(
    text: str, expected: list[tuple[int, int, str, str, str]]
) -> None:
    found = problems(text)
    assert [(p.line, p.column, p.path) for p in found] == [case[:3] for case in expected]
    for problem, (*_, message, hint) in zip(found, expected, strict=True):
        assert problem.message.startswith(message)
        assert hint in (problem.hint or "")


def test_all_problems_are_found_at_once_in_the_order_of_the_file() -> None:
    text = (
        "workers: lots\n"
        + cluster(shards=ONE + ONE + shard('{slots: 0-5, nodes: ["a"]}'))
        + "    limits: {clints: 5}\nadmin: nowhere\n"
    )
    assert [(p.line, p.path) for p in problems(text)] == [
        (1, "workers"),
        (8, "clusters.main.shards[1].nodes[0]"),
        (9, "clusters.main.shards[2].nodes[0]"),
        (10, "clusters.main.limits.clints"),
        (11, "admin"),
    ]


def test_errors_read_like_those_of_compilers() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(HEAD + "workes: 3\nlog: 7\n", "my.yaml")
    assert str(caught.value).splitlines() == [
        "my.yaml:6:1: workes: is not a known key (did you mean workers?)",
        "my.yaml:7:6: log: must be a mapping of keys to values",
    ]


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: there is no such file"):
        load_config(tmp_path / "no.yaml")


def test_a_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        load_config(tmp_path)


def test_an_impossible_path_is_said() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config("a\0b")


def test_a_file_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(ConfigError, match=r"cannot be read: Permission denied \(check who may read it\)"):
        load_config(tmp_path / "secret.yaml")


def test_bytes_that_are_no_text_are_located(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"# one\nadmin: \xff\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert [(p.line, p.column, p.message) for p in caught.value.problems] == [
        (2, 8, "is not UTF-8 text: byte 0xff")
    ]


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + HEAD.encode())
    assert load_config(file) == parse_config(HEAD)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{n}: &{n} [{', '.join(9 * ['*' + p])}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "a: " + "[" * 200 + "]" * 200 + "\n",
        "a: " + "[" * 5000 + "\n",
        "#" * (5 << 20),
    ],
    ids=["aliases of aliases", "deep", "very deep", "long"],
)
def test_a_hostile_file_is_refused_soon(text: str) -> None:
    assert problems(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        *(
                            "clusters",
                            "main",
                            "engine",
                            "endpoints",
                            "configuration",
                            "shards",
                            "nodes",
                            "address",
                        ),
                        *(
                            "slots",
                            "limits",
                            "timeouts",
                            "reads",
                            "from",
                            "node_auth",
                            "password",
                            "hashing",
                            "type",
                            "x",
                        ),
                    ]
                ),
                inner | st.sampled_from(["redis", "memcached", "a:1", "127.0.0.1:1", "0-5"]),
                max_size=5,
            )
        ),
        max_leaves=30,
    )
)
def test_any_values_are_a_config_or_a_config_error(value: object) -> None:
    try:
        assert isinstance(parse_config(json.dumps(value)), Config)
    except ConfigError as e:
        assert e.problems  # noqa: PT017
