"""What a good file becomes."""

from __future__ import annotations

import pydantic
import pytest

from shardproxy.config import (
    Config,
    HashMethod,
    LogLevel,
    MemcachedCluster,
    Mode,
    ReadFrom,
    RedisCluster,
    parse_config,
)
from shardproxy.model import Address, EndpointKind, Engine, SlotRange

EXAMPLE = """\
workers: auto                        # data-plane threads
admin: 127.0.0.1:9700                # API, /metrics, /livez, /readyz
clusters:
  sessions:
    engine: redis                    # redis | memcached
    endpoints:                       # each: one address or a list; host:port, [ipv6]:port or unix:/path
      configuration: 127.0.0.1:7000  # everything; plays a Redis Cluster to cluster clients
      primary: 127.0.0.1:7001
      reader: 127.0.0.1:7002
    reads: {from: primary}           # primary | replica | nearest
    shards:                          # slots split evenly unless given
      - nodes: ["127.0.0.1:7101", {address: "127.0.0.1:7102", zone: b}]
      - {slots: "8192-16383", nodes: ["127.0.0.1:7103", "127.0.0.1:7104"]}
  pages:
    engine: memcached
    hashing: ketama
    endpoints: {configuration: 127.0.0.1:11211}
    nodes: ["127.0.0.1:11311", "127.0.0.1:11312"]
"""

SMALL = """\
clusters:
  main:
    engine: redis
    endpoints: {configuration: 127.0.0.1:7000}
    shards: [{nodes: ["127.0.0.1:6379"]}]
"""


def redis(config: Config, name: str = "main") -> RedisCluster:
    cluster = config.clusters[name]
    assert isinstance(cluster, RedisCluster)
    return cluster


def test_the_example_of_the_design_loads_as_written() -> None:
    config = parse_config(EXAMPLE)
    assert config.workers == "auto"
    assert config.admin == Address("127.0.0.1", 9700)
    sessions, pages = config.clusters["sessions"], config.clusters["pages"]
    assert isinstance(sessions, RedisCluster)
    assert [(kind, str(endpoint.addresses[0])) for kind, endpoint in sessions.endpoints.listed] == [
        (EndpointKind.CONFIGURATION, "127.0.0.1:7000"),
        (EndpointKind.PRIMARY, "127.0.0.1:7001"),
        (EndpointKind.READER, "127.0.0.1:7002"),
    ]
    assert sessions.reads.source is ReadFrom.PRIMARY
    assert isinstance(pages, MemcachedCluster)
    assert pages.hashing.method is HashMethod.KETAMA


def test_a_topology_is_the_file_as_values() -> None:
    sessions, pages = parse_config(EXAMPLE).topologies()
    assert (sessions.cluster, sessions.engine, sessions.epoch) == ("sessions", Engine.REDIS, 0)
    first, second = sessions.shards
    assert first.slots == (SlotRange(0, 8191),)
    assert second.slots == (SlotRange(8192, 16383),)
    assert [str(node) for node in first.nodes] == ["127.0.0.1:7101", "127.0.0.1:7102"]
    assert first.primary is not None
    assert (first.primary.zone, first.replicas[0].zone) == (None, "b")
    assert [str(shard.primary) for shard in pages.shards] == ["127.0.0.1:11311", "127.0.0.1:11312"]
    assert [shard.slots for shard in pages.shards] == [(), ()]  # ketama knows no slots


def test_memcached_nodes_share_slots_unless_hashed_otherwise() -> None:
    (_, pages) = parse_config(EXAMPLE.replace("    hashing: ketama\n", "")).topologies()
    assert [shard.slots for shard in pages.shards] == [(SlotRange(0, 8191),), (SlotRange(8192, 16383),)]


def test_all_else_has_a_default() -> None:
    config = parse_config(SMALL)
    cluster = redis(config)
    assert config.admin == Address("127.0.0.1", 9700)
    assert config.log.level is LogLevel.INFO
    assert config.limits.buffers == 1 << 30
    assert config.timeouts.drain == 10.0
    assert cluster.limits.model_dump() == {
        "clients": 10000,
        "request": 536870912,
        "client_output": 536870912,
        "in_flight": 4096,
        "shard_queue": 67108864,
        "dedicated": 256,
    }
    assert cluster.limits.client_output >= cluster.limits.request, "whatever was written can be read"
    assert cluster.timeouts.model_dump() == {"connect": 1.0, "reply": 5.0, "idle": 0.0, "park": 3.0}
    assert cluster.node_auth is None


def test_endpoints_come_short_and_written_out() -> None:
    text = SMALL.replace(
        "{configuration: 127.0.0.1:7000}",
        '{configuration: {address: ["127.0.0.1:7000", "unix:/run/a.sock"], advertise: "cache.example:80"},'
        ' primary: ["[::1]:7001", "127.0.0.1:0", "127.0.0.1:0"], reader: {address: "0.0.0.0:7002"}}\n'
        "    access: open",
    )
    endpoints = redis(parse_config(text)).endpoints
    assert endpoints.configuration is not None
    assert [str(address) for address in endpoints.configuration.addresses] == [
        "127.0.0.1:7000",
        "unix:/run/a.sock",
    ]
    assert endpoints.configuration.mode is Mode.PROXY
    assert endpoints.configuration.advertise == Address("cache.example", 80)
    assert endpoints.primary is not None
    assert [str(address) for address in endpoints.primary.addresses] == [
        "[::1]:7001",
        "127.0.0.1:0",
        "127.0.0.1:0",
    ]


def test_250_shards_of_6_nodes_load() -> None:
    shards = "".join(
        "      - nodes: [" + ", ".join(f'"10.0.{i}.{j}:6379"' for j in range(6)) + "]\n" for i in range(250)
    )
    (topology,) = parse_config(SMALL.replace(' [{nodes: ["127.0.0.1:6379"]}]', "\n" + shards)).topologies()
    assert len(topology.shards) == 250
    assert len(topology.nodes) == 1500


def test_sections_can_be_shared_by_anchors_and_merged() -> None:
    text = SMALL + (
        "    limits: &small {clients: 10, request: 1kb}\n"
        "  other:\n"
        '    <<: {engine: redis, shards: [{nodes: ["127.0.0.1:6380"]}]}\n'
        "    endpoints: {configuration: 127.0.0.1:7001}\n"
        "    limits: {<<: *small, request: 2kb}\n"
    )
    config = parse_config(text)
    assert redis(config).limits.request == 1024
    assert (redis(config, "other").limits.clients, redis(config, "other").limits.request) == (10, 2048)


def test_ports_may_be_chosen_by_the_system() -> None:
    two = SMALL.replace("clusters:\n", "").replace("main", "two").replace("6379", "6380")
    assert len(parse_config((SMALL + two).replace(":7000", ":0")).clusters) == 2


def test_a_config_can_be_written_and_read_again() -> None:
    config = parse_config(EXAMPLE)
    written = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert Config.model_validate(written) == config


def test_a_config_does_not_change() -> None:
    with pytest.raises(pydantic.ValidationError):
        parse_config(SMALL).workers = 3


def test_configs_are_compared_by_value() -> None:
    assert parse_config(SMALL) == parse_config("# the same\n" + SMALL + "workers: auto\n")
