"""Lines of MONITOR, as Redis prints them. Knows nothing of sockets."""

from __future__ import annotations

import re
from dataclasses import dataclass

# +1339518083.107412 [0 127.0.0.1:60866] "keys" "*"; of a script [0 lua], of a unix socket [0 unix:/path]
_LINE = re.compile(rb"\+?\d+\.\d+ \[(\d+) ([^\]]*|\[[^\]]*\][^\]]*)\] (.*)", re.DOTALL)
_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"(?: |$)', re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}
LUA = b"lua"


@dataclass(frozen=True, slots=True)
class Seen:
    """One command that a server executed."""

    db: int
    client: bytes  # its address; `lua` within a script
    args: tuple[bytes, ...]

    @property
    def is_of_script(self) -> bool:
        return self.client == LUA


def line_parse(line: bytes) -> Seen | None:
    """Read one line; None for what is none of MONITOR's."""
    found = _LINE.fullmatch(line.rstrip(b"\r\n"))
    if found is None:
        return None
    args, at, text = [], 0, found[3]
    while at < len(text):
        word = _WORD.match(text, at)
        if word is None:
            return None
        args.append(_ESCAPE.sub(_unescape, word[1]))
        at = word.end()
    return Seen(int(found[1]), found[2], tuple(args)) if args else None


def _unescape(escape: re.Match[bytes]) -> bytes:
    if escape[1] is not None:
        return bytes.fromhex(escape[1].decode())
    return _NAMED.get(escape[2], escape[2])
