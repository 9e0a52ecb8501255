"""Starts real local engines, for the demo and the tests, and leaves nothing of them behind.

fleet.py    shards of nodes, and their end            node.py      one engine process, ready or dead
redis.py    how a redis-server is started and asked   memcached.py the same for memcached
process.py  how a program is launched here            directory.py where it runs, removed with its owner
ports.py    free ports of loopback                    guard.py     outlives a killed owner and cleans up
errors.py   what can go wrong
"""

from shardproxy.fleet.directory import GuardedDirectory
from shardproxy.fleet.errors import EngineError, EngineMissingError
from shardproxy.fleet.fleet import Fleet, FleetShard, open_fleet, wait_ready
from shardproxy.fleet.memcached import MemcachedNode
from shardproxy.fleet.node import EngineNode
from shardproxy.fleet.ports import free_port
from shardproxy.fleet.redis import EngineTls, RedisNode

__all__ = [
    "EngineError",
    "EngineMissingError",
    "EngineNode",
    "EngineTls",
    "Fleet",
    "FleetShard",
    "GuardedDirectory",
    "MemcachedNode",
    "RedisNode",
    "free_port",
    "open_fleet",
    "wait_ready",
]
