"""Finds the nodes that a config does not list: pods behind a Service, addresses of a DNS name.

found.py   what was found, kept for a while, and laid over a config. Pure
finder.py  looks, and says when there is news
"""

from shardproxy.topology.discovery.finder import Finder as Finder
