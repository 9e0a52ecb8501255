"""Turns the pools of twemproxy (nutcracker.yml) into a config of ours."""

from shardproxy.config.nutcracker.convert import Imported, import_nutcracker

__all__ = ["Imported", "import_nutcracker"]
