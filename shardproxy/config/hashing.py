"""How keys find their memcached node."""

from __future__ import annotations

import ipaddress
from enum import Enum
from typing import Annotated, Self

from pydantic import Field, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.model import Address, Node


class HashMethod(Enum):
    """How nodes share the keys; all but `slots` place them as the client or proxy they are named after."""

    SLOTS = "slots"
    KETAMA = "ketama"  # twemproxy
    KETAMA_LIBMEMCACHED = "ketama-libmemcached"
    KETAMA_LIBMEMCACHED_UNWEIGHTED = "ketama-libmemcached-unweighted"  # pylibmc's ketama=True
    KETAMA_SPY = "ketama-spy"  # spymemcached
    RENDEZVOUS = "rendezvous"  # pymemcache
    MODULA = "modula"  # hash modulo nodes, in the order they are listed


class KeyHash(Enum):
    """Hash functions of a key, under the names libmemcached and twemproxy give them."""

    ONE_AT_A_TIME = "one_at_a_time"
    MD5 = "md5"
    CRC16 = "crc16"
    CRC32 = "crc32"
    CRC32A = "crc32a"
    FNV1_64 = "fnv1_64"
    FNV1A_64 = "fnv1a_64"
    FNV1_32 = "fnv1_32"
    FNV1A_32 = "fnv1a_32"
    HSIEH = "hsieh"
    MURMUR = "murmur"
    JENKINS = "jenkins"


CHOOSES_HASH = frozenset(
    {
        HashMethod.KETAMA,
        HashMethod.KETAMA_LIBMEMCACHED,
        HashMethod.KETAMA_LIBMEMCACHED_UNWEIGHTED,
        HashMethod.MODULA,
    }
)
UNWEIGHTED = frozenset({HashMethod.RENDEZVOUS, HashMethod.KETAMA_LIBMEMCACHED_UNWEIGHTED})


class Hashing(Section):
    """Hashing written out; the method alone says the same in short."""

    method: HashMethod = HashMethod.SLOTS
    """How nodes share the keys. `slots` allows resharding; the others keep keys where others put them."""
    hash: KeyHash | None = None
    """Hash function of keys, for ketama, both of libmemcached and modula. Default: the method's own."""
    tag: Annotated[str, Field(min_length=2, max_length=2, examples=["{}"])] | None = None
    """Two ASCII characters; only the part of a key between them is hashed. Default: `{}` for slots, else the
    whole key is."""

    @model_validator(mode="after")
    def _tag_is_ascii(self) -> Self:
        if self.tag is not None and not self.tag.isascii():
            raise refused("a hash tag is two ASCII characters", 'write it like tag: "{}"')
        return self

    @model_validator(mode="after")
    def _hash_is_there(self) -> Self:
        if self.hash is KeyHash.HSIEH:
            raise refused(
                "the hash function hsieh is not available: its licence does not allow it",
                "choose another one, and start with an empty cache",
            )
        return self

    @model_validator(mode="after")
    def _hash_is_used(self) -> Self:
        if self.hash is not None and self.method not in CHOOSES_HASH:
            raise refused(
                f"{self.method.value} has a hash function of its own",
                "leave out hash, or use ketama, either of libmemcached or modula",
            )
        return self


def as_hashing(value: object) -> object:
    """Let the method alone stand for the whole."""
    return {"method": value} if isinstance(value, str) else value


def why_not_placed(method: HashMethod, node: Node) -> tuple[str, str] | None:
    """Say why a method cannot give a node its keys, and what to write instead."""
    address = node.address
    if method in UNWEIGHTED and node.weight != 1:
        return f"{method.value} knows no weights, and {address} has one", "leave out weight, or choose ketama"
    if method is HashMethod.KETAMA_SPY and node.name is None and not _is_ip(address):
        return (
            f"ketama-spy hashes host name and IP address, and {address} has but one of them",
            f'name it as Java shows its address, as in name: "{address.host or "cache"}/10.0.0.1:11211"',
        )
    return None


def _is_ip(address: Address) -> bool:
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return False
    return True
