"""One shard, tended by the leader.

task.py      waits for news, decides, has it done
tended.py    what the others read, and remember
register.py  takes a primary that is there, or makes the first
change.py    failovers, switchovers, holds
asked.py     what an operator asks for
heal.py      what a settled shard still lacks
"""
