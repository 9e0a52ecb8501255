"""Takes in what somebody else's Redis has, and follows it until an operator has it finished.

worker.py   the job                         copies.py  one copier for each shard of the source
ready.py    whether it can be taken in      functions.py  libraries of functions
"""

from shardproxy.importing.follow.worker import ImportWorker as ImportWorker
