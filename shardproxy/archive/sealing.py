"""Encryption before anything leaves this machine: AES-256-GCM, chunk by chunk.

    file = "SPSEAL1\\n" salt(16) chunk*     chunk = 1 MiB encrypted, tag(16); the last is shorter
    key of a file = HKDF-SHA256(key, salt, what it is)     nonce = number of the chunk (11 bytes), is last (1)

A chunk that is missing, doubled, moved, of another file or another backup does not open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from shardproxy.archive.errors import SealError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"SPSEAL1\n"
SALT = 16  # bytes
CHUNK = 1 << 20  # bytes before encryption
TAG = 16  # bytes
KEY = 32  # bytes
MAX_KEY_FILE = 4096  # bytes; more is the wrong file

_HINT = "make one with: openssl rand -base64 32"


@dataclass(frozen=True, slots=True)
class Key:
    """What backups are encrypted with. Without it they cannot be read by anybody."""

    secret: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Key:
        """Read a file of 32 bytes in base64 or hexadecimal, blocking; raise SealError."""
        try:
            with path.open("rb") as file:
                content = file.read(MAX_KEY_FILE + 1)
        except OSError as e:
            raise SealError(f"cannot read the key in {path}: {e.strerror}") from None
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: bytes, place: str) -> Key:
        """Raise SealError, which says nothing of what is there."""
        if len(content) == KEY:
            return cls(content)
        text = content.strip()
        for decode in (bytes.fromhex, _from_base64):
            try:
                secret = decode(text.decode("ascii"))
            except (ValueError, binascii.Error):
                continue
            if len(secret) == KEY:
                return cls(secret)
        raise SealError(f"{place} does not hold a key of 32 bytes in base64 or hexadecimal; {_HINT}")

    @property
    def id(self) -> str:
        """What tells it from others, and nothing of what it is."""
        return self._derived(b"key id").hex()[:16]

    def mac(self, content: bytes) -> str:
        """What only somebody with the key can say of this content."""
        return hmac.new(self._derived(b"manifest"), content, hashlib.sha256).hexdigest()

    def _derived(self, what: bytes) -> bytes:
        return hmac.new(self.secret, b"shardproxy " + what, hashlib.sha256).digest()

    def seal(self, chunks: Iterable[bytes], what: str) -> Iterator[bytes]:
        """Encrypt a file; `what` says which it is, and is needed to open it."""
        salt = os.urandom(SALT)
        cipher = self._cipher(salt, what)
        yield MAGIC + salt
        for number, (chunk, is_last) in enumerate(_with_last(_cut(chunks, CHUNK))):
            yield cipher.encrypt(_nonce(number, is_last), chunk, None)

    def open(self, chunks: Iterable[bytes], what: str) -> Iterator[bytes]:
        """Decrypt it; raise SealError at the first chunk that is not what was sealed."""
        from cryptography.exceptions import InvalidTag

        head, rest = _split(chunks, len(MAGIC) + SALT)
        if not head.startswith(MAGIC) or len(head) < len(MAGIC) + SALT:
            raise SealError("the file is not encrypted by shardproxy, or cut off at its start")
        cipher = self._cipher(head[len(MAGIC) :], what)
        for number, (chunk, is_last) in enumerate(_with_last(_cut(rest, CHUNK + TAG))):
            try:
                yield cipher.decrypt(_nonce(number, is_last), chunk, None)
            except InvalidTag:
                raise SealError(
                    f"chunk {number} does not open: another key, another backup's file, or damaged or cut off"
                ) from None

    def _cipher(self, salt: bytes, what: str) -> AESGCM:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        except ImportError:
            raise SealError(
                "encryption needs another package: pip install 'shardproxy[encryption]'"
            ) from None
        info = b"shardproxy backup " + what.encode()
        return AESGCM(HKDF(algorithm=SHA256(), length=KEY, salt=salt, info=info).derive(self.secret))


def sealed_size(size: int) -> int:
    """How many bytes a file of so many has when it is sealed."""
    return len(MAGIC) + SALT + size + TAG * max(1, -(-size // CHUNK))


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _nonce(number: int, is_last: bool) -> bytes:
    return number.to_bytes(11) + bytes([is_last])


def _cut(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of that size; the last is shorter, and empty where there are none at all."""
    waiting = bytearray()
    is_empty = True
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= size:
            yield bytes(waiting[:size])
            del waiting[:size]
            is_empty = False
    if waiting or is_empty:
        yield bytes(waiting)


def _with_last(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    piece = next(pieces)
    for following in pieces:
        yield piece, False
        piece = following
    yield piece, True


def _split(chunks: Iterable[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, and what follows them."""
    source = iter(chunks)
    head = bytearray()
    while len(head) < size and (chunk := next(source, b"")):
        head += chunk

    def rest() -> Iterator[bytes]:
        yield bytes(head[size:])
        yield from source

    return bytes(head[:size]), rest()
