"""`shardproxy version`."""

from __future__ import annotations

import platform

from shardproxy import __version__


def version() -> None:
    """Show the versions of what is installed."""
    print(f"shardproxy {__version__}")
    print(f"python {platform.python_version()} on {platform.system().lower()} {platform.machine()}")
