"""A state file, for a proxy that is alone.

    state.json         records and notes: written beside, synced, renamed over
    state.json.lock    held (flock) by the process that may write; the kernel lets go when it ends
    state.json.events  what happened, for people: the notes of that kind, appended

state.py  what is kept, and how it may change      file.py   writes it, changes that wait together
codec.py  the file's formats                       store.py  the store
lock.py   one writer                             twin.py   the process that takes over, link.py how it talks
"""

from shardproxy.store.local.state import StateFileError
from shardproxy.store.local.store import LocalStore

__all__ = ["LocalStore", "StateFileError"]
