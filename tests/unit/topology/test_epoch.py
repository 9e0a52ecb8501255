"""How a cluster without records is numbered."""

from __future__ import annotations

import pytest
import trio

from shardproxy.model import Address, Engine, Node, Shard, Topology
from shardproxy.store.memory import MemoryNotes
from shardproxy.store.notes import NoteKey, NoteKind
from shardproxy.topology.epoch import topology_digest, topology_note

KEY = NoteKey("pages", NoteKind.EPOCH)


def topology(epoch: int, port: int = 11311) -> Topology:
    node = Node(Address("127.0.0.1", port))
    return Topology("pages", Engine.MEMCACHED, epoch, (Shard(0, (), node, number=0),))


@pytest.mark.parametrize(
    ("current", "wanted", "last", "expected"),
    [
        pytest.param(None, topology(0), None, 1, id="the first epoch is 1"),
        pytest.param(None, topology(0), topology(7, 11312), 8, id="after a restart with another config"),
        pytest.param(None, topology(0), topology(7), 7, id="after a restart, or at another proxy"),
        pytest.param(topology(4), topology(0, 11312), topology(4), 5, id="a change is one epoch more"),
        pytest.param(topology(4), topology(0), topology(4), 4, id="no change, no epoch"),
        pytest.param(topology(4), topology(0, 11312), topology(9), 10, id="above all that was ever noted"),
        pytest.param(topology(4), topology(0, 11312), topology(5, 11312), 5, id="as another proxy has it"),
        pytest.param(topology(4), topology(0, 11312), None, 5, id="above what is served, noted or not"),
    ],
)
async def test_epochs(
    current: Topology | None, wanted: Topology, last: Topology | None, expected: int
) -> None:
    notebook = MemoryNotes()
    if last is not None:
        await notebook.note(KEY, {"epoch": last.epoch, "digest": topology_digest(last)})
    assert await topology_note(current, wanted, notebook) == wanted.with_epoch(expected)


async def test_two_proxies_do_not_number_differently() -> None:
    notebook, found = MemoryNotes(), []

    async def number(port: int) -> None:
        found.append((await topology_note(None, topology(0, port), notebook)).epoch)

    async with trio.open_nursery() as nursery:
        for port in (11311, 11311, 11311, 11312):
            nursery.start_soon(number, port)
    assert len(set(found[:3])) <= 2
    assert notebook.notes[KEY].value["epoch"] == max(found) == len(set(found))


async def test_the_epoch_of_a_version_before_is_not_gone_below() -> None:
    notebook = MemoryNotes()
    await notebook.note(KEY, {"epoch": 4, "digest": ""})
    assert (await topology_note(None, topology(0), notebook)).epoch == 5
