"""Power cuts: an engine is killed, and its files lose what was not on the disk yet.

SIGKILL alone leaves what the kernel has; a library in the engine notes what each fsync covered, and a cut
takes the rest away. What was sent to replicas before the cut reaches them, as on a network that lives on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from shardproxy.fleet import RedisNode
from shardproxy.fleet.process import LOG, LocalProcess

SOURCE = Path(__file__).with_name("power.c")
NOTES = "power-notes"  # a directory beside the engine's files


def why_no_cuts() -> str | None:
    """Why power cuts cannot be played here, or None."""
    return None if shutil.which("cc") else "no C compiler: power cuts need the library of power.c"


def library_build(directory: Path) -> Path:
    """Compile what notes fsyncs."""
    library = directory / "power.so"
    command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


class Powered(LocalProcess):
    """An engine whose fsyncs are noted; a power cut ends it like a crash."""

    library: Path

    def __init__(self, argv: Sequence[str], directory: Path) -> None:
        notes = directory / NOTES
        notes.mkdir(exist_ok=True)
        with (directory / LOG).open("ab") as log:
            self._child = subprocess.Popen(
                argv,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "LD_PRELOAD": str(self.library), "POWER_NOTES": str(notes)},
            )


def cut(nodes: Iterable[RedisNode]) -> int:
    """Cut the power of all of these at once; how many bytes of their files are gone."""
    down = list(nodes)
    for node in down:
        os.kill(node.pid, 9)
    return sum(_lose(node) for node in down)


def _lose(node: RedisNode) -> int:
    node.kill()
    lost = 0
    for path in node.directory.rglob("*"):
        if not path.is_file() or NOTES in path.parts or path.name == LOG:
            continue
        stat = path.stat()
        covered = 0
        with contextlib.suppress(FileNotFoundError):
            covered = int((node.directory / NOTES / str(stat.st_ino)).read_text())
        if covered < stat.st_size:
            lost += stat.st_size - covered
            os.truncate(path, covered)
    return lost
