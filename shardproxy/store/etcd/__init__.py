"""A store in etcd: its JSON gateway, over httpx on trio.

    store ─> leadership, records, notes ─> transactions ─┐
         ─> session (lease) ─> announced (leased keys) ──┼─> client ─> etcd's members, one after the other
         ─> reader (read all, then watch) ─> view ───────┘
                                              └─> shown ─> the boards

Only the reader says what is stored, and only what a quorum stands behind: an old answer is never acted on.
"""

from shardproxy.store.etcd.store import EtcdStore

__all__ = ["EtcdStore"]
