"""The scripts that change keys and leases together. A file in lua/ says what it is given and replies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib import resources

PACKAGE = "shardproxy.caching"


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and what engines call it once they have seen it."""

    body: str = field(repr=False)
    digest: str

    @classmethod
    def load(cls, name: str) -> Script:
        body = resources.files(PACKAGE).joinpath("lua", f"{name}.lua").read_text()
        return cls(body, hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest())


PROBE = Script.load("probe")
CLAIM = Script.load("claim")
FILL = Script.load("fill")
MISSING = Script.load("missing")
RELEASE = Script.load("release")
WRITE = Script.load("write")
PREPARE = Script.load("prepare")
CLEAR = Script.load("clear")
PUBLISH = Script.load("publish")
INVALIDATE = Script.load("invalidate")
ENQUEUE = Script.load("enqueue")
TAKE = Script.load("take")
HOLD = Script.load("hold")
ACK = Script.load("ack")
BURY = Script.load("bury")
KEEP = Script.load("keep")
AGE = Script.load("age")
