"""Bytes that clients sent, as people are shown them. Pure."""

from __future__ import annotations


def shown(data: bytes) -> str:
    r"""As text, in which bytes that are no printable UTF-8 are `\xNN`, and a backslash is two."""
    text = data.decode("utf-8", "surrogateescape")
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
