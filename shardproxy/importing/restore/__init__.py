"""Restores a backup, or RDB files of anybody's, into a cluster of any number of shards.

files.py  what is restored, and has it at hand     worker.py  the job
load.py   has it loaded, over failovers, pauses and changes of the leader
"""

from shardproxy.importing.restore.worker import RestoreWorker as RestoreWorker
