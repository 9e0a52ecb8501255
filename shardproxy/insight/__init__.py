"""What an operator wants to know and no counter says: why a request goes there, what is large, what to do.

explain.py    where one request goes, and why (pure)    loss.py      what losing a primary would mean (pure)
memcached.py  the same of a pool (pure)                 observe.py   asks engines how full and busy they are
figures.py    that as values (pure)                     advice.py    what is wrong with it (pure)
planning.py   what other shards would make of it (pure) prices.py    node types, and what they cost
bigkeys.py    the largest keys of replicas              interface.py what pages ask for
slow.py       what took long, with what its node says   slow_desk.py the same of a cluster, and traces
quantiles.py  percentiles of histograms (pure)
"""
