"""Redis Sentinel decides: a majority of the configured Sentinels is believed, and what the node itself says.

asker.py     asks one Sentinel                answers.py  what it says (pure)
decide.py    what that means (pure)           record.py   what is shown of it (pure)
shard.py     follows one shard                source.py   follows all of a cluster
handover.py  a switchover, done by Sentinel   check.py    whether Sentinels know the names
"""
