"""`--takeover`: a new process takes the sockets and the clients of a running one, which then ends.

    new                                          old
    connects to STATE.handover ─────────────────>
      {"takeover", version, member} ────────────> is it the same user's?
      <─────────────────────── its listening sockets: from now on both may accept
    starts: follows what is on record
    is ready: "serving", and a socket ──────────> drains: leads no more, accepts no more,
      <──────────────────────────────── clients, each as soon as nothing is owed to it
    leads                                         the rest ends, at the latest after timeouts.drain

Whatever goes wrong before "serving" ends the new process, and leaves the old one as it was.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
import trio

from shardproxy import __version__
from shardproxy.app.inheritance import ADMIN, Inheritance, Inherited, systemd_inheritance
from shardproxy.app.starting import StartError
from shardproxy.store.local.link import Link

PROTOCOL = 1  # what both must speak; what is added to it may be missing
ANSWERED_WITHIN = 5.0  # seconds
MAX_LINE = 1 << 20  # bytes
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: unix(7)

log = structlog.get_logger()


class NotNowError(ValueError):
    """Nothing is handed over as yet, for this reason."""


def handover_path(state: Path) -> Path:
    """Where a process with that state file is found by the next one."""
    return state.with_name(state.name + ".handover")


# --- the new process ---


def inheritance_of(path: Path | None, member: str) -> Inheritance:
    """The sockets of the process that is taken over from there, if one is; else those systemd passed."""
    taken = takeover_begin(path, member) if path is not None else None
    return taken or systemd_inheritance()


def takeover_begin(path: Path, member: str) -> Inheritance | None:
    """Ask the running process for its sockets; None when there is none. Raise StartError."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.settimeout(ANSWERED_WITHIN)
        try:
            with _short(path) as short:
                link.connect(short)
        except (FileNotFoundError, ConnectionRefusedError):
            link.close()
            return None
        if (why := _why_not_ours(link)) is not None:
            raise StartError(f"cannot take over at {path}: {why}")
        asked = {"takeover": PROTOCOL, "version": __version__, "member": member}
        link.sendall(json.dumps(asked).encode() + b"\n")
        return _inherit(link)
    except (OSError, ValueError, KeyError, TypeError) as error:
        link.close()
        raise StartError(f"cannot take over at {path}: {error}") from error
    except BaseException:
        link.close()
        raise


def _inherit(link: socket.socket) -> Inheritance:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < MAX_LINE:
        byte = link.recv(1)  # no more: a socket comes with each of the bytes behind it
        if not byte:
            raise OSError("the running process has closed the connection: is it ending?")
        line += byte
    said = json.loads(line)
    if "refused" in said:
        raise StartError(f"the running process does not hand over: {said['refused']}")
    sockets = []
    for one in said["sockets"]:
        _, numbers, _, _ = socket.recv_fds(link, 1, 1)
        if not numbers:
            raise OSError("a socket did not come")
        os.set_inheritable(numbers[0], False)
        listener = socket.socket(fileno=numbers[0])
        sockets.append(Inherited(listener, one["name"], one["address"], bool(one.get("kept"))))
    log.info("taking over", pid=said.get("pid"), version=said.get("version"), sockets=len(sockets))
    return Inheritance(tuple(sockets), Link(link), str(said["member"]))


async def takeover_end(link: Link, clients: socket.socket) -> None:
    """Have the running process leave its endpoints to this one, and its clients through that socket."""
    try:
        with trio.fail_after(ANSWERED_WITHIN):
            await link.say_with("serving", {"version": __version__, "pid": os.getpid()}, clients)
    except (OSError, trio.TooSlowError) as error:
        log.warning("the process before has ended by itself", why=str(error))


# --- the running process ---

Offer = Callable[[], list[Inherited]]  # raises NotNowError
Join = Callable[[Link, str], None]


async def run_handover(path: Path, member: str, offer: Offer, join: Join) -> None:
    """Offer the sockets to the next process of the same user; `join` is given each link, before it is run."""
    async with _listening(path) as listener:
        while True:
            peer, _ = await listener.accept()
            try:
                with trio.fail_after(ANSWERED_WITHIN):
                    await _hand(peer, member, offer, join)
            except (OSError, ValueError, KeyError, TypeError, trio.TooSlowError) as error:
                log.warning("nothing handed over", why=str(error) or repr(error))
                peer.close()


async def _hand(peer: trio.socket.SocketType, member: str, offer: Offer, join: Join) -> None:
    if (why := _why_not_ours(peer)) is not None:
        raise OSError(why)
    asked = json.loads(await _line(peer))
    if asked["takeover"] != PROTOCOL:
        said = f"it speaks version {PROTOCOL} of takeovers, and version {asked['takeover']} was asked for"
        await peer.send(json.dumps({"refused": said}).encode() + b"\n")
        raise ValueError(said)
    try:
        sockets = offer()
    except NotNowError as error:
        await peer.send(json.dumps({"refused": str(error)}).encode() + b"\n")
        raise
    try:
        names = [{"name": one.name, "address": one.address, "kept": one.is_kept} for one in sockets]
        head = {"member": member, "version": __version__, "pid": os.getpid(), "sockets": names}
        left = memoryview(json.dumps(head).encode() + b"\n")
        while left:
            left = left[await peer.send(left) :]
        for one in sockets:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [one.socket.fileno()]))]
            await peer.sendmsg([b"."], rights)
    finally:
        for one in sockets:
            one.socket.close()
    log.info("handing over", to=asked.get("member"), version=asked.get("version"))
    join(Link(_taken(peer)), str(asked["member"]))


def _taken(peer: trio.socket.SocketType) -> socket.socket:
    number = peer.detach()
    return socket.socket(fileno=number)


async def _line(peer: trio.socket.SocketType) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) < MAX_LINE:
        data = await peer.recv(4096)
        if not data:
            raise OSError("it has gone")
        line += data
    return line


@asynccontextmanager
async def _listening(path: Path) -> AsyncIterator[trio.socket.SocketType]:
    listener, own = _bound(path)
    try:
        yield trio.socket.from_stdlib_socket(listener)
    finally:
        listener.close()
        _remove(path, own)


def _bound(path: Path) -> tuple[socket.socket, int]:
    """Listen there instead of whoever does: this process has its state file now. Also the file's number."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    new = path.with_name(path.name + f".{os.getpid()}")
    try:
        new.unlink(missing_ok=True)
        with _short(new) as short:
            listener.bind(short)
        new.chmod(0o600)
        listener.listen(1)
        listener.setblocking(False)
        number = new.stat().st_ino
        new.replace(path)
    except BaseException:
        listener.close()
        raise
    return listener, number


def _remove(path: Path, number: int) -> None:
    with suppress(OSError):
        if path.stat().st_ino == number:  # else the next process listens there
            path.unlink()


class _short:  # noqa: N801  # a context manager
    """A path that fits into a socket's name, whatever the directory is called."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> str:
        self._directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._directory}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._directory)


def _why_not_ours(peer: Any) -> str | None:
    """Sockets are given to, and taken from, the same user only."""
    data = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _, user, _ = CREDENTIALS.unpack(data)
    return None if user in (os.geteuid(), 0) else f"the process there is of user {user}, not {os.geteuid()}"


def offered(admin: socket.socket, endpoints: list[tuple[str, socket.socket]], kept: bool) -> list[Inherited]:
    """What is handed over; copies, to be closed by whoever gets the list."""
    sockets = [Inherited(admin.dup(), ADMIN, is_kept=kept)]
    return sockets + [Inherited(one, "", address, kept) for address, one in endpoints]
