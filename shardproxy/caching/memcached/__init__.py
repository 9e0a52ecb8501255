"""Caching rules before memcached nodes, which run no scripts and keep no names beside a key.

items.py   what a node has of a key: a value, or a mark      requests.py  what clients ask, and what they hear
leases.py  who loads a key                                   writing.py   write-through
service.py serves what the data plane hands over
"""
