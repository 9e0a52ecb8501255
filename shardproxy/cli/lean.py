"""What a serving process does without, so that it listens soon and stays small.

`shardproxy run` loads in three steps: the config's models, then all that serves, then (once clients can
connect) the admin pages with their HTTP server. tests/integration/test_start.py names what no step may load.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def not_installed(name: str) -> Iterator[None]:
    """Have imports in the block find that a package is not installed, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # how Python marks what must not be imported
    try:
        yield
    finally:
        del sys.modules[name]


class Settled:
    """Ends the start, as the task status of what is started: garbage is looked for from then on.

    While modules are loaded next to nothing becomes garbage, and what is there afterwards stays: it is never
    looked through again, which also keeps a full collection from stopping health and failover for long.
    """

    def __init__(self) -> None:
        gc.disable()

    def started(self, value: object = None) -> None:
        gc.collect()
        gc.freeze()
        gc.enable()
