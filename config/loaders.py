"""Loaders for config/caching.yaml: what SQL cannot say.

Put a module like this where the proxy finds it (PYTHONPATH, or a package of yours that is installed beside
it), and name the function in the config: `python: loaders:price`. A package may give it a name instead:

    [project.entry-points."shardproxy.loaders"]     # in its pyproject.toml
    price = "loaders:price"                          # then python: price

A loader is an async function of a key and its parts. It returns what the rule's `as` is made of, or None
where there is no such thing:

    string              text, bytes or a number
    json                anything that JSON has
    hash                a mapping of fields to values
    list, set           an iterable of elements
    zset                a mapping of members to scores

It runs inside the proxy, on trio, beside everything else: whatever waits has to be awaited, and whatever
computes for more than a moment belongs in a thread (`trio.to_thread.run_sync`). It is cancelled when the
source's `timeout` is over, and no more than `connections` run at once. OSError and SourceDownError (of
shardproxy.caching.sources.interface) say that what it asks is down: the rule's `stale` and `on_failure` then
say what clients hear.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import trio

PRICES = Path("/var/lib/prices")
RATES = {"EUR": Decimal(1), "USD": Decimal("1.08"), "GBP": Decimal("0.85")}


async def price(key: str, parts: Mapping[str, str]) -> object:
    """The price of a product, in euros in a file of its own, in another currency."""
    rate = RATES.get(parts["currency"])
    sku = parts["sku"]
    if rate is None or not sku.isalnum():
        return None
    try:
        euros = await trio.Path(PRICES / sku).read_text()
    except FileNotFoundError:
        return None
    return f"{Decimal(euros.strip()) * rate:.2f}"
