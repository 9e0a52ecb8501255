"""Puts the services together: the only package that knows them all.

    signals ─> process ─> follower ─> data plane ─> commands (what it offloads)
                  │           └── supervisor: health, failover ─┐
                  ├── coordination: members, notes, acks ───────┴─> store
                  └── status, boards ─> admin HTTP

run.py           opens what a process needs, and runs it
process.py       owns the process's life: starts the services in order, obeys signals
parts.py         makes the services, each of those before it
links.py         connections to nodes
showing.py       what the admin pages read
reading.py       what a config and the files it names say
starting.py      data plane, descriptors, admin address
reloading.py     what is served as configured, from the start on
draining.py      lets clients go
succeeding.py    takes over from the process before, and lets the next one
logging_in.py    how logins are verified elsewhere, and what is told of refused ones
coordinating.py  what is shared with other proxies, and kept in the store
describing.py    what this process says of itself to the others
"""

from shardproxy.app.run import run_app
from shardproxy.app.starting import Serving, StartError

__all__ = ["Serving", "StartError", "run_app"]
