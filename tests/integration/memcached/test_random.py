"""Odd requests by the thousand: the proxy answers each as a plain memcached does, and the connection goes on."""

# ruff: noqa: E501  # tables of bytes

from __future__ import annotations

import base64
import random
import re
from collections.abc import Callable

import pytest

from tests.fixtures.clients import Wire
from tests.integration.memcached.conftest import Asker, Pool

KEYS = (b"a", b"bar", b"k1", b"k2", b"k3", b"p:1", b"p:2", "schlüssel".encode(), b"x" * 250)
ENCODED = tuple(base64.b64encode(key) for key in KEYS[:-1]) + (
    b"YmFy!",
    b"YmF",
    b"====",
    b"AA==",
    b"YQ==YmFy",
)
LONG = b"x" * 251
NUMBERS = (b"0", b"1", b"5", b"-1", b"+1", b"00", b"007", b"1x", b"x", b"1.5", b"-", b"1\t", b"\t1")
LARGE = (
    *(b"4294967295", b"4294967296", b"2147483648", b"99999999999", b"-2147483648", b"-2147483649"),
    *(b"9223372036854775807", b"18446744073709551615", b"18446744073709551616"),
)
# none that passes while the test runs
LIVES = (b"0", b"1000", b"-1", b"+1000", b"1000\t", b"-5", b"2591999", b"2147483647", *LARGE[:7])
NO_LIVES = (b"x", b"1x", b"", b"-", b"1.5", LARGE[-1])
VALUES = (b"", b"x", b"1x", b"END\r\n", b"VALUE a 0 1\r\n", b"v" * 3000)
# The one key that is counted with: memcached pads what becomes shorter, but not while an older reply still holds it.
COUNTER = b"n"
COUNTS = (b"1", b"10", b"99", b"18446744073709551615")
FLAGS = (
    *(
        b"b",
        b"c",
        b"f",
        b"h",
        b"k",
        b"q",
        b"s",
        b"t",
        b"u",
        b"v",
        b"I",
        b"Oabc",
        b"O" + b"o" * 40,
        b"b1",
        b"qq",
    ),
    *(
        b"S5",
        b"F7",
        b"F-1",
        b"Fx",
        b"F4294967296",
        b"C1",
        b"Cx",
        b"P",
        b"L",
        b"!",
        b"z",
        b"Q",
        b"\x7f",
        b"\xff",
    ),
    *(b"M", b"MS", b"ME", b"MA", b"MP", b"MR", b"Madd", b"MX", b"MI", b"MD", b"M+", b"M-", b"Mi", b"Md"),
    *(
        b"J5",
        b"Jx",
        b"D3",
        b"D-1",
        b"Dx",
        b"N0",
        b"N1000",
        b"Nx",
        b"T0",
        b"T-1",
        b"T1000",
        b"Tx",
        b"R1",
        b"Rx",
    ),
    *(b"T4294967295", b"T99999999999", b"N4294967296", b"R2147483648", b"T1000\t", b"D18446744073709551615"),
)
TIMES = re.compile(rb"\b([tl])\d+(?=[ \r])")
PADDED = re.compile(rb"(?m)^(VALUE n \d+|VA) \d+([^\r]*\r\n\d+) *\r$")
UNIQUE = re.compile(rb"(?m)(^VALUE \S+ \d+ \d+) \d+(?=\r$)|\bc\d+(?=[ \r])|\b(?:exp|la|cas)=-?\d+")


class Requests:
    """Draws requests, most of them nearly right."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def draw(self) -> bytes:
        kinds: list[Callable[[], bytes]]
        kinds = [self.get] * 4 + [self.store] * 4 + [self.meta] * 8 + [self.keyed] * 4 + [self.other]
        line = self.chance.choice(kinds)()
        if self.chance.random() < 0.05:
            line = line.replace(b" ", b"  ", self.chance.randrange(3))
        return line

    def one(self, *among: bytes) -> bytes:
        return self.chance.choice(among)

    def key(self) -> bytes:
        return self.one(*KEYS)

    def any_key(self) -> bytes:
        return self.one(COUNTER, *KEYS)

    def number(self) -> bytes:
        return self.one(*NUMBERS, *LARGE)

    def life(self) -> bytes:
        return self.one(*LIVES)

    def noreply(self, odds: float = 0.2) -> bytes:
        return b" noreply" if self.chance.random() < odds else b""

    def get(self) -> bytes:
        verb = self.one(b"get", b"gets", b"gat", b"gats", b"bget")
        life = b" " + self.one(*LIVES, *NO_LIVES) if verb.startswith(b"gat") else b""
        keys = b"".join(b" " + self.any_key() for _ in range(self.chance.randrange(1, 9)))
        return verb + life + keys + b"\r\n"

    def store(self) -> bytes:
        """A line whose data memcached reads as such."""
        verb = self.one(b"set", b"set", b"add", b"replace", b"append", b"prepend", b"cas")
        key = self.key() if b"pend" in verb else self.any_key()
        value = self.one(*(COUNTS if key == COUNTER else VALUES))
        unique = b" " + self.one(b"1", b"0", b"18446744073709551615") if verb == b"cas" else b""
        flags = self.one(b"0", b"5", b"007", b"+5", b"5\t", b"4294967295", b"4294967296")
        line = b"%s %s %s %s %d%s" % (verb, key, flags, self.life(), len(value), unique)
        return line + self.noreply() + b"\r\n" + value + b"\r\n"

    def meta(self) -> bytes:
        verb = self.one(b"mg", b"ms", b"md", b"ma", b"me", b"mn")
        flags = [self.one(*FLAGS) for _ in range(self.chance.randrange(6))]
        if sum(flag[:1] == b"q" for flag in flags) > 1:
            return self.meta()  # told of by the proxy itself, whatever else is wrong
        is_encoded = self.chance.random() < 0.3
        flags = [b"b", *flags] if is_encoded else flags
        self.chance.shuffle(flags)
        key = self.one(*ENCODED, *KEYS) if is_encoded else self.key()
        if verb == b"ma":
            key = key if is_encoded else self.any_key()
            # a quiet one that makes its item is answered by 1.6.18, and not by later ones
            flags = [flag for flag in flags if flag[:1] != b"N" or not any(f[:1] == b"q" for f in flags)]
        if verb != b"ms":
            return b" ".join((verb, key, *flags)) + b"\r\n"
        value = self.one(*VALUES)
        return b" ".join((verb, key, b"%d" % len(value), *flags)) + b"\r\n" + value + b"\r\n"

    def keyed(self) -> bytes:
        verb = self.one(b"delete", b"incr", b"decr", b"touch")
        if verb == b"touch":
            words = b" " + self.one(*LIVES, *NO_LIVES)
        elif verb == b"delete":
            words = self.one(b"", b"", b" 0", b" 5", b" x")
        else:
            words = b" " + self.number()
        return b"%s %s%s%s\r\n" % (verb, self.any_key(), words, self.noreply())

    def other(self) -> bytes:
        return self.one(
            *(b"mn\r\n", b"version\r\n", b"version x\r\n", b"\r\n", b"get\r\n", b"GET a\r\n", b"delete\r\n"),
            *(b"flush_all\r\n", b"flush_all 0\r\n", b"flush_all -1 noreply\r\n", b"flush_all noreply\r\n"),
            *(b"flush_all x\r\n", b"flush_all 0 0\r\n", b"flush_all x noreply\r\n", b"flush_all 1 2 3\r\n"),
            *(b"flush_all 4294967295\r\n", b"flush_all " + LARGE[-1] + b"\r\n"),
            *(
                b"verbosity %s%s\r\n" % (level, self.noreply(0.4))
                for level in (b"0", b"1", b"-1", b"x", b"", b"0 0")
            ),
            *(b"stats detail%s\r\n" % word for word in (b"", b" x", b" on", b" off", b" on x")),
            *(
                b"stats nope\r\n",
                b"stats reset\r\n",
                b"stats detail dump\r\n",
                b"nope\r\n",
                b"set a 0 0\r\n",
                b"gat 0\r\n",
            ),
            *(b"set a 0 0 %s%s\r\n" % (length, self.noreply()) for length in NO_LENGTHS),
            *(b"ms a %s\r\n" % length for length in NO_LENGTHS),
            *(b"%s %s\r\n" % (verb, LONG) for verb in (b"get", b"md", b"delete", b"mg")),
        )


ALL = b"get " + b" ".join(KEYS) + b"\r\n"
NO_LENGTHS = (
    b"-1",
    b"x",
    b"2147483646",
    b"2147483647",
    b"2147483648",
    b"4294967295",
    b"-",
    b"18446744073709551616",
)


def plain(reply: bytes) -> bytes:
    """Without what differs between two processes and two seconds."""
    return PADDED.sub(rb"\1\2\r", UNIQUE.sub(rb"\1 u", TIMES.sub(rb"\1", reply)))


@pytest.mark.parametrize("seed", range(4))
def test_odd_requests_are_answered_as_by_memcached(pool: Pool, wire: Callable[..., Wire], seed: int) -> None:
    requests = Requests(seed)
    said = []
    with Asker(pool.plain) as oracle, Asker(pool.proxy.address()) as proxy:
        for _ in range(1500):
            request = requests.draw()
            said.append(request)
            expected, found = plain(oracle.ask(request)), plain(proxy.ask(request))
            assert found == expected, said[-3:]
            assert proxy.ask(ALL) == oracle.ask(ALL), said[-3:]
