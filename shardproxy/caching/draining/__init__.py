"""Brings noted writes to the database: in order per key, by one proxy at a time per slot, at least once.

    slots with notes ─> take: a lease each ─> one transaction ─> hold: ours still? ─> COMMIT ─> ack
                                                    ├─ refused ─> one by one ─> refused: dead letter
                                                    └─ slow, busy ─> slot by slot ─> slow: set aside

Killed anywhere, the next one takes the same notes again: upserts and deletes may be done twice, and say the
same twice. Order: as of write-through, the rows are locked before the lease is looked at, and what the next
holder of the lease does comes after. Every SWEEP all slots are looked at, as their streams' names are known:
notes whose proxy has gone are found by any other.

A note is buried only when its database refuses it. One whose key no rule writes any more stays where it is,
and the log says so: it was acknowledged, and a rule that comes back takes it on.

service.py   rounds, one after another: which slots, their notes, what came of it
slots.py     which slots have something to drain, and which are left alone for a while
sweeping.py  finds slots with notes, and counts these
rounds.py    what is taken and done in one round
streams.py   notes and leases at the engines: take, hold, acknowledge, bury, let go
bringing.py  notes to their database: in one transaction, slot by slot, one by one
"""

from shardproxy.caching.draining.service import Draining

__all__ = ["Draining"]
