"""Compares two Redis key by key, and changes neither.

    scan of A ─> batch ─┬─ type, expiry, size ─┬─ small: DUMP, and what differs there as large
                        └─ of both at once     └─ large: elements in chunks
    scan of B ─> batch ─── is it in A at all
    what differs ─> looked at again, as long as told: keys change between two questions

tally.py   what was found (pure)     side.py    one Redis: its keys, and whom to ask for each
values.py  two values in chunks      batch.py   some keys on both sides
pace.py    how fast                  compare.py the whole
"""

from shardproxy.importing.diff.compare import DiffPlan, diff_run
from shardproxy.importing.diff.side import Side, side_open
from shardproxy.importing.diff.tally import Difference, Tally

__all__ = ["DiffPlan", "Difference", "Side", "Tally", "diff_run", "side_open"]
