"""Moves slots between shards while they are served.

    wants ─> layout (pure) ─> moves ─> survey, fitness ─> plan
    worker ─> carrying: one pair of shards at a time
        PLAN > CLEAN_TARGET > COPY > CATCH_UP > FENCE > PUBLISH > CLEAN_SOURCE
               is_mixed       Copier             hold    records   sweep

Before PUBLISH the source owns the slots whatever dies, after it the target. Knows no wire and no thread of
the data plane: what moves the bytes is a Copier (replication/interface.py).
"""
