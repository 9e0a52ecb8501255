"""Who is primary: adopts what is there, replaces a primary that is down, brings nodes back.

controller.py  task: tends every shard            machine.py   the steps of a failover, as a table
decide.py      what a shard needs now             election.py  who may be promoted, and who is best
adoption.py    the primary found at start         healing.py   what a settled shard still lacks
runner.py      walks the machine                  steps.py     the commands engines are given
backoff.py     against flapping                   events.py    what happened, for people
setup.py       what is configured of a shard      interfaces.py  what is needed of the rest: fence, nodes
controls.py    what an operator asks for
"""
