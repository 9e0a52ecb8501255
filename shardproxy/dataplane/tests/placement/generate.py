"""Asks the programs whose placement of keys is to be matched where keys belong, and writes vectors.json.

Needs memcached, nutcracker and libmemcached on the machine, pymemcache, and for spymemcached a Java 17
and the path of its jar: `python generate.py spymemcached-2.12.3.jar`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pymemcache.client.rendezvous import RendezvousHash

HERE = Path(__file__).parent
HASHES: tuple[str, ...] = ("one_at_a_time", "md5", "crc16", "crc32", "crc32a", "murmur", "jenkins")
HASHES += ("fnv1_64", "fnv1a_64", "fnv1_32", "fnv1a_32")
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Node:
    """A server; `name` is what it is called in place of host and port."""

    host: str
    port: int
    weight: int = 1
    name: str | None = None


@dataclass(frozen=True)
class Case:
    """One way to place keys, and where each key went, as an index into the nodes: a digit of base 36."""

    origin: str
    method: str
    hash: str | None
    tag: str | None
    nodes: tuple[Node, ...]
    ascii_only: bool
    placed: str


# in the order twemproxy counts them: short names first
LOCAL = (
    Node("127.0.0.2", 11211),
    Node("127.0.0.3", 11211),
    Node("127.0.0.2", 21511),
    Node("127.0.0.2", 21512),
    Node("127.0.0.3", 21511),
)
WEIGHTS = (1, 2, 3, 1, 5)
WEIGHTED = tuple(Node(n.host, n.port, w) for n, w in zip(LOCAL, WEIGHTS, strict=True))
NAMED = tuple(
    Node(n.host, n.port, w, f"cache-{i}") for i, (n, w) in enumerate(zip(LOCAL, WEIGHTS, strict=True))
)


def make_keys() -> list[str]:
    """Keys as applications have them, and some no one should have; every character is one byte."""
    chance = random.Random(7)
    keys = [f"key:{i:012}" for i in range(400)]
    keys += [f"user:{{{i % 17}}}:{kind}:{i}" for i in range(100) for kind in ("profile", "{}", "[7]")]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-_./:"
    keys += ["".join(chance.choices(letters, k=1 + n % 60)) for n in range(1200)]
    keys += ["".join(chr(chance.randrange(0x80, 0x100)) for _ in range(1 + n % 30)) for n in range(150)]
    keys += ["x" * 250, "{", "}", "{}", "{}a{b}", "{{a}}"]
    return list(dict.fromkeys(keys))


def digits(indexes: Iterator[int]) -> str:
    return "".join(DIGITS[i] for i in indexes)


def ask_pymemcache(keys: list[str]) -> Iterator[Case]:
    names = [f"{n.host}:{n.port}" for n in LOCAL]
    ring = RendezvousHash(names)
    placed = digits(names.index(ring.get_node(key)) for key in keys if key.isascii())
    yield Case(
        "pymemcache 4.0.0 RendezvousHash", "rendezvous", None, None, LOCAL, ascii_only=True, placed=placed
    )


def ask_libmemcached(keys: list[str]) -> Iterator[Case]:
    """Through the library itself: memcached_generate_hash tells the index of the server."""
    lib = ctypes.CDLL("libmemcached.so.11")
    lib.memcached_create.restype = ctypes.c_void_p
    lib.memcached_lib_version.restype = ctypes.c_char_p
    version = lib.memcached_lib_version().decode()
    named = "one_at_a_time md5 crc32 fnv1_64 fnv1a_64 fnv1_32 fnv1a_32 - murmur jenkins"  # memcached_hash_t
    numbers = {name: number for number, name in enumerate(named.split()) if name != "-"}
    behavior_hash, behavior_ketama, behavior_ketama_weighted = 2, 3, 16
    for method, behavior, nodes, names in (
        ("ketama-libmemcached", behavior_ketama_weighted, LOCAL, (None, *numbers)),
        ("ketama-libmemcached", behavior_ketama_weighted, WEIGHTED, (None,)),
        ("ketama-libmemcached-unweighted", behavior_ketama, LOCAL, (None, *numbers)),
        ("modula", None, LOCAL, (None, *numbers)),
    ):
        for name in names:
            handle = ctypes.c_void_p(lib.memcached_create(None))
            if behavior is not None:
                assert lib.memcached_behavior_set(handle, behavior, ctypes.c_uint64(1)) == 0
            number = ctypes.c_uint64(numbers[name or "one_at_a_time"])
            if name and lib.memcached_behavior_set(handle, behavior_hash, number) != 0:
                continue  # not built in
            for n in nodes:
                lib.memcached_server_add_with_weight(
                    handle, n.host.encode(), ctypes.c_uint16(n.port), n.weight
                )
            encoded = [key.encode("latin-1") for key in keys]
            placed = digits(
                lib.memcached_generate_hash(handle, key, ctypes.c_size_t(len(key))) for key in encoded
            )
            yield Case(f"libmemcached {version}", method, name, None, nodes, ascii_only=False, placed=placed)


def ask_spymemcached(keys: list[str], jar: str) -> Iterator[Case]:
    plain = tuple(Node(f"10.0.{i}.1", 11211 + i % 2) for i in range(6))
    named = tuple(
        Node(n.host, n.port, w, f"cache-{i}.example/{n.host}:{n.port}")
        for i, (n, w) in enumerate(zip(plain, (1, 1, 2, 3, 5, 8), strict=True))
    )
    for nodes in (plain, named):
        first = " ".join(f"{(n.name or '-').split('/')[0]}|{n.host}|{n.port}|{n.weight}" for n in nodes)
        text = "\n".join([first, *(key for key in keys if key.isascii())])
        command = ["java", "-cp", jar, str(HERE / "Spy.java")]
        answer = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
        placed = digits(int(line) for line in answer.split())
        yield Case(Path(jar).stem, "ketama-spy", None, None, nodes, ascii_only=True, placed=placed)


def ask_nutcracker(keys: list[str]) -> Iterator[Case]:
    """Set every key through a pool, and look which node has it."""
    version = subprocess.run(["nutcracker", "-V"], capture_output=True, text=True).stderr.split("\n")[0]
    origin = version.removeprefix("This is ").replace("nutcracker-", "nutcracker ")
    wanted: list[tuple[str, str | None, str | None, tuple[Node, ...]]]
    wanted = [(method, name, None, LOCAL) for method in ("ketama", "modula") for name in HASHES]
    wanted += [("ketama", None, None, LOCAL)]
    wanted += [(method, "md5", None, nodes) for method in ("ketama", "modula") for nodes in (WEIGHTED, NAMED)]
    wanted += [("ketama", "murmur", tag, LOCAL) for tag in ("{}", "[]", "::")]
    pools = [f"pool{i}" for i in range(len(wanted))]
    lines = []
    for i, (method, name, tag, nodes) in enumerate(wanted):
        lines += [f"pool{i}:", f"  listen: 127.0.0.2:{22600 + i}", f"  distribution: {method}"]
        lines += [f"  hash: {name}"] if name else []
        lines += [f'  hash_tag: "{tag}"'] if tag else []
        lines += ["  servers:"]
        lines += [f"   - {n.host}:{n.port}:{n.weight}{' ' + n.name if n.name else ''}" for n in nodes]
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        Path(folder, "nutcracker.yml").write_text("\n".join(lines) + "\n")
        for n in LOCAL:
            stack.enter_context(
                running("memcached", "-u", "root", "-l", n.host, "-p", str(n.port), "-U", "0")
            )
        stack.enter_context(running("nutcracker", "-c", f"{folder}/nutcracker.yml", "-s", "22599"))
        time.sleep(1)
        for i, (method, name, tag, nodes) in enumerate(wanted):
            placed = placed_by(("127.0.0.2", 22600 + i), pools[i], keys)
            yield Case(origin, method, name, tag, nodes, ascii_only=False, placed=placed)


def placed_by(pool: tuple[str, int], mark: str, keys: list[str]) -> str:
    with socket.create_connection(pool) as connection:
        reader = connection.makefile("rb")
        for key in keys:
            connection.sendall(f"set {key} 0 0 {len(mark)}\r\n{mark}\r\n".encode("latin-1"))
            assert reader.readline() == b"STORED\r\n", key
    found: dict[str, int] = {}
    for index, n in enumerate(LOCAL):
        with socket.create_connection((n.host, n.port)) as connection:
            reader = connection.makefile("rb")
            for key in keys:
                connection.sendall(f"get {key}\r\n".encode("latin-1"))
                if reader.readline() != b"END\r\n":
                    if reader.readline() == f"{mark}\r\n".encode():
                        assert key not in found
                        found[key] = index
                    reader.readline()
    return digits(found[key] for key in keys)


@contextlib.contextmanager
def running(*command: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    keys = make_keys()
    cases = [*ask_nutcracker(keys), *ask_libmemcached(keys), *ask_pymemcache(keys)]
    cases += ask_spymemcached(keys, sys.argv[1])
    with Path(HERE, "vectors.json").open("w") as file:
        file.write(f'{{"keys":{json.dumps(keys)},\n"cases":[\n')
        file.write(",\n".join(json.dumps(asdict(case), separators=(",", ":")) for case in cases))
        file.write("\n]}\n")
    print(f"{len(cases)} cases of {len(keys)} keys")


if __name__ == "__main__":
    main()
