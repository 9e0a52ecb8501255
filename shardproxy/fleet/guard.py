"""Ends what runs in a directory, and removes it, once the owner is gone. A script of its own: stdlib only.

    owner ──pipe──> guard          The owner alone holds the writing end, so however it ends, even by kill -9,
      └─ engines (cwd in root)     the guard reads end-of-file. Whatever then runs with its working directory
                                   under the root is killed, and the root is removed.

PR_SET_PDEATHSIG would not do: it fires at the end of the *thread* that started the child, and leaves files.
"""

import contextlib
import os
import shutil
import signal
import sys
import time

QUIET = 0.05  # seconds between looks; two empty looks in a row end the search
PATIENCE = 10.0  # seconds until the guard gives up on a process that does not die


def main(root: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    deadline = time.monotonic() + PATIENCE
    empty = 0
    while empty < 2 and time.monotonic() < deadline:
        residents = pids_in(root)
        empty = 0 if residents else empty + 1
        for pid in residents:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if os.path.isdir(root) or residents:
            time.sleep(QUIET)
        else:
            break
    shutil.rmtree(root, ignore_errors=True)


def pids_in(root: str) -> list[int]:
    """Every process whose working directory is the root or below it, removed or not."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                where = os.readlink(f"/proc/{name}/cwd").removesuffix(" (deleted)")
                if where == root or where.startswith(root + "/"):
                    found.append(int(name))
    return found


if __name__ == "__main__":
    main(sys.argv[1])
