"""What can go wrong with a local engine."""

from __future__ import annotations


class EngineError(Exception):
    """An engine did not start, ended by itself, or did not become ready in time."""


class EngineMissingError(EngineError):
    """The program is not installed on this machine."""

    def __init__(self, programs: tuple[str, ...], package: str) -> None:
        super().__init__(
            f"{' or '.join(programs)} is not installed or not on PATH. Install it with"
            f" `apt-get install {package}` (Debian, Ubuntu), `dnf install {package.split('-')[0]}` (Fedora)"
            f" or `brew install {package.split('-')[0]}` (macOS)."
        )
