"""A data plane is believed until its lease ends, and again once it serves what is stored."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from shardproxy.coordination.lease import Lessor, Standing, deadline_wanted
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord
from tests.unit.topology.make import KEY, record

SYNCED = Standing(9.0, is_synced=True, is_careful=False, is_current=True)


@pytest.mark.parametrize(
    ("standing", "armed", "now", "wanted"),
    [
        pytest.param(
            Standing(None, True, False, True), None, 5.0, None, id="nobody else can change anything"
        ),
        pytest.param(SYNCED, None, 5.0, 9.0, id="for the first time"),
        pytest.param(SYNCED, 8.0, 5.0, 9.0, id="renewed"),
        pytest.param(Standing(9.0, True, False, False), 8.0, 5.0, 9.0, id="renewed while news come in"),
        pytest.param(
            Standing(9.0, True, False, False), None, 5.0, None, id="not before it serves what is stored"
        ),
        pytest.param(
            Standing(9.0, False, False, True), 9.0, 7.0, 9.0, id="out of touch, and not careful yet"
        ),
        pytest.param(Standing(9.0, False, True, True), 9.0, 7.0, None, id="out of touch, and careful"),
        pytest.param(Standing(9.0, False, True, True), 6.0, 7.0, None, id="woken up, and careful"),
        pytest.param(Standing(9.0, True, True, True), None, 7.0, None, id="in touch, and careful still"),
        pytest.param(Standing(9.0, True, False, False), 6.0, 7.0, 6.0, id="woken up, and not told yet"),
        pytest.param(Standing(9.0, False, False, True), 6.0, 7.0, 6.0, id="woken up, and out of touch"),
        pytest.param(SYNCED, 6.0, 7.0, 9.0, id="woken up, and serving what is stored"),
    ],
)
def test_until_when_it_is_believed(
    standing: Standing, armed: float | None, now: float, wanted: float | None
) -> None:
    assert deadline_wanted(standing, armed, now) == wanted


class Plane:
    def __init__(self) -> None:
        self.told: list[float | None] = []

    def lease(self, cluster: str, deadline: float | None) -> None:
        assert cluster == KEY.cluster
        self.told.append(deadline)


async def test_it_is_told_of_each_change_and_disarmed_in_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plane = Plane()
    leases: Board[str, float] = Board()
    synced: Board[str, bool] = Board()
    careful: Board[str, bool] = Board()
    records: Board[ShardKey, ShardRecord] = Board()
    applied: Board[ShardKey, int] = Board()
    lessor = Lessor(leases, synced, records, careful, applied, plane, trio.current_time)
    cluster = KEY.cluster
    async with trio.open_nursery() as nursery:
        await nursery.start(lessor.run)
        records.show(KEY, record(changed=5))
        synced.show(cluster, True)
        leases.show(cluster, 3.0)
        await trio.sleep(0.01)
        assert plane.told == []
        applied.show(KEY, 5)
        await trio.sleep(1)
        leases.show(cluster, 4.0)
        await trio.sleep(4)  # it stood still
        leases.show(cluster, 9.0)
        records.show(KEY, record(changed=6))
        await trio.sleep(0.01)
        assert plane.told == [3.0, 4.0]
        applied.show(KEY, 6)
        await trio.sleep(0.01)
        synced.show(cluster, False)
        await trio.sleep(0.01)
        assert plane.told == [3.0, 4.0, 9.0]
        careful.show(cluster, True)
        await trio.sleep(0.01)
        assert plane.told == [3.0, 4.0, 9.0, None]
        careful.hide(cluster)
        synced.show(cluster, True)
        await trio.sleep(0.01)
        assert plane.told == [3.0, 4.0, 9.0, None, 9.0]
        nursery.cancel_scope.cancel()
    assert plane.told[-1] is None
