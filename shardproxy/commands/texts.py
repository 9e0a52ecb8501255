"""Error texts that several commands share, as Redis 7.0 words them."""

from __future__ import annotations

from collections.abc import Sequence

from shardproxy.commands.table import lower


def unknown_subcommand(args: Sequence[bytes]) -> str:
    """For a container's subcommand that does not exist."""
    return f"ERR unknown subcommand '{_subcommand(args)}'. Try {lower(args[0]).upper()} HELP."


def bad_subcommand(args: Sequence[bytes]) -> str:
    """For a subcommand with arguments it does not take."""
    return (
        f"ERR unknown subcommand or wrong number of arguments for '{_subcommand(args)}'. "
        f"Try {lower(args[0]).upper()} HELP."
    )


def _subcommand(args: Sequence[bytes]) -> str:
    return args[1][:128].decode("utf-8", "surrogateescape")
