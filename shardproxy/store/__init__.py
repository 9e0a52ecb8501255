"""Where shards' records are kept, and who may write them.

record.py     what is kept of a shard            interface.py  what any store offers
local.py      a state file, for one proxy        codec.py      records as plain JSON values
"""
