"""Whether each node is alive, and whether a primary has to be replaced.

monitor.py   task: has all nodes asked, shows verdicts   prober.py    task: asks one node, over and over
probe.py     one question to one node                    pace.py      when it is asked, and how much
shard.py     one shard's nodes, and what follows         history.py   what is remembered of a node's results
detector.py  from results and witnesses to a verdict     outcome.py   classes of replies
witness.py   what a replica says of its primary          staleness.py how old a replica's data is
attached.py  who is who in a primary's list of replicas  manager.py   who else manages a node
tilt.py      when our own clock cannot be trusted        statistics.py  figures on all this, for metrics
settings.py  intervals and limits                        pool.py      tells of memcached nodes that are down
explain.py   whether a silent node may only be busy      slow.py      what took long, by the nodes' slow logs
traffic.py   those who send requests to nodes
"""
