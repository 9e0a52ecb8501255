"""Whether each node is alive, and whether a primary has to be replaced.

monitor.py   task: asks every node, shows verdicts       probe.py     one question to one node
detector.py  from results and witnesses to a verdict     history.py   what is remembered of a node's results
outcome.py   classes of replies                          tilt.py      when our own clock cannot be trusted
witness.py   what a replica says of its primary          staleness.py how old a replica's data is
settings.py  intervals and limits                   manager.py   who else manages a node
pool.py      memcached nodes that are down, for the log
"""
