"""How many shards a cluster is to have: measured and decided by its leader, done by a job.

INFO of primaries ─> samples ─> decide (pure) ─> advice: an event, the status
                                            └──> a job that reshards, where shards are ready

load.py    what INFO says of load        decide.py   out, in, or as it is (pure)
advice.py  what was found out last       run.py      the leader's service
"""
