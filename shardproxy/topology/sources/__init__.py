"""Topologies that something else decides: a source follows the decider and shows what it says as records.

source.py     what a source is, and what it has      showing.py   the one writer of a cluster's records
epochs.py     numbers that never go back             opening.py   the source of each cluster
nodes.py      what nodes say of themselves           spelling.py  one name for each node
sentinel/     Redis Sentinel                         cluster/     Redis Cluster
"""
