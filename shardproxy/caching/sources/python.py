"""A function in Python as a source.

```python
async def profile(key: str, parts: Mapping[str, str]) -> object:
    return {"name": ...}        # what the rule's `as` is made of; None: there is no such thing
```

It runs in trio, in the control plane: it awaits what it waits for, and moves what computes to a thread. It is
cancelled at the deadline. OSError and SourceDownError say that its own source is down; of anything else that
it raises clients hear the type, and it is logged.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import structlog
import trio

from shardproxy.caching.sources.interface import (
    Given,
    NotWritten,
    Operation,
    Parts,
    SourceDownError,
    SourceError,
    SourceRefusedError,
    Value,
    WriteOf,
)
from shardproxy.caching.sources.turns import Turns, in_time
from shardproxy.config.caching import KEY

if TYPE_CHECKING:
    from shardproxy.caching.rules import Rule

GROUP = "shardproxy.loaders"
Loader = Callable[[str, Mapping[str, str]], Awaitable[Any]]
log = structlog.get_logger()


class LoaderError(Exception):
    """There is no such function, or it is of no use."""


class PythonSource:
    """A function."""

    def __init__(self, loader: Loader, turns: Turns, timeout: float) -> None:
        self._loader = loader
        self._turns = turns
        self._timeout = timeout

    async def load(self, rule: Rule, parts: Parts) -> Value | None:
        deadline = trio.current_time() + self._timeout
        async with self._turns.turn(deadline):
            with in_time(deadline):
                value = await self._call(rule, parts)
        return None if value is None else Value(value)

    async def _call(self, rule: Rule, parts: Parts) -> Any:
        try:
            return await self._loader(parts[KEY], {name: parts[name] for name in rule.names})
        except SourceError:
            raise
        except (OSError, trio.TooSlowError) as e:
            raise SourceDownError("the loader does not reach its source", f"{type(e).__name__}: {e}") from e
        except Exception as e:  # it is not ours
            log.warning("loader failed", match=rule.match, why=type(e).__name__, exc_info=True)
            raise SourceRefusedError(f"the loader failed: {type(e).__name__}") from e

    def writing(self, rule: Rule, parts: Parts, op: Operation, given: Given) -> NotWritten:
        return NotWritten("a function")

    def writing_all(self, writes: Sequence[WriteOf]) -> NotWritten:
        return NotWritten("a function")


def loader_named(name: str) -> Loader:
    """Find `module:function` or an entry point; raise LoaderError saying what is wrong."""
    found = _function(name) if ":" in name else _entry_point(name)
    if not inspect.iscoroutinefunction(found) and not inspect.iscoroutinefunction(
        getattr(found, "__call__", None)  # noqa: B004  # an object that is called
    ):
        raise LoaderError(f"{name} is no async function: write async def")
    try:
        inspect.signature(found).bind("key", {})
    except TypeError as e:
        raise LoaderError(f"{name} is called with a key and its parts: {e}") from None
    return found  # type: ignore[no-any-return]


def _function(name: str) -> Any:
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except Exception as e:  # whatever a module does when it is imported
        raise LoaderError(f"{module} cannot be imported: {type(e).__name__}: {e}") from e
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise LoaderError(f"{module} has no {path}") from None
    return found


def _entry_point(name: str) -> Any:
    known = entry_points(group=GROUP)
    try:
        point = known[name]
    except KeyError:
        names = ", ".join(sorted(known.names)) or "none"
        raise LoaderError(f"no package has an entry point {name} in {GROUP} (known: {names})") from None
    return _function(point.value)
