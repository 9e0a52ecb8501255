"""Which right a request needs, and what is said where it is not there. Pure: knows nothing of connections.

look  how the proxy and its nodes are, and who is connected
read  what it knows beside that: keys, requests and their arguments, the config
act   whatever changes something, or has nodes or workers work for whoever asks
"""

from __future__ import annotations

from collections.abc import Mapping

from shardproxy.admin.callers import Right

READING = frozenset({"GET", "HEAD"})
# what is not among these tells keys, arguments or the config, as may what is new
LOOKING = frozenset({"/metrics"}) | {
    f"/api/{page}" for page in ("status", "topology", "events", "jobs", "clients", "process", "stream")
}
WORKING = frozenset({"/api/bigkeys/scan", "/api/trace"})
SAMPLING = "/api/usage"  # works only where keys are wanted
SAMPLE = "sample"


def right_wanted(method: str, path: str, query: Mapping[str, str]) -> Right:
    """What whoever asks this must have."""
    if method not in READING or path in WORKING or (path == SAMPLING and _is_sampling(query)):
        return Right.ACT
    return Right.LOOK if path in LOOKING else Right.READ


def why_too_little(method: str, wanted: Right, *, is_open: bool) -> str:
    """What to do for whoever has less than is wanted. `is_open`: the config says nothing of rights."""
    if is_open:
        return f"{_why_only_here(method, wanted)}: {_token(wanted)} in the config lets others"
    what = "this has nodes work, and " if method in READING else ""
    return f"{what}it may only read: it needs rights: act in the config's admin_access"


def _why_only_here(method: str, wanted: Right) -> str:
    if wanted is Right.READ:
        return "without a token this machine alone is told keys, requests and the config"
    what = "this has nodes work, and " if method in READING else ""
    return f"{what}without a token this machine alone may act"


def _token(wanted: Right) -> str:
    rights = wanted.name.lower()
    return f"admin_access: {{tokens: [{{name: ops, rights: {rights}, file: /run/secrets/token}}]}}"


def _is_sampling(query: Mapping[str, str]) -> bool:
    return query.get(SAMPLE, "0").strip("0") != ""
