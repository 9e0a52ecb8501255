"""A cluster of one shard is one Redis: whatever the slots and databases of keys, the same bytes come back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.clients import Wire
from tests.fixtures.oracle import Pair
from tests.protocol.case import Block, read
from tests.protocol.test_commands import compare, run

BLOCKS = tuple(
    block for file in sorted((Path(__file__).parent / "one_shard").glob("*.txt")) for block in read(file)
)


@pytest.mark.parametrize("endpoint", ["configuration", "primary"])
@pytest.mark.parametrize("pipelined", [False, True], ids=["whole", "pipelined"])
@pytest.mark.parametrize("resp", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_one_shard_answers_as_one_engine(
    block: Block, resp: int, pipelined: bool, endpoint: str, pair: Pair, wire: Callable[..., Wire]
) -> None:
    pair.empty()
    theirs = run(wire(pair.plain.address), resp, block.steps, pipelined, is_proxy=False)
    ours = run(wire(pair.single.address(endpoint, "single")), resp, block.steps, pipelined)
    whys = (compare(step, o, t) for step, o, t in zip(block.steps, ours, theirs, strict=True))
    wrong = [why for why in whys if why is not None]
    assert not wrong, "\n".join(["", *wrong])
