"""From the clusters that are served to those a changed config asks for."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.notes import Note, NoteKey, NoteKind
from shardproxy.topology.follower import LATE, REFUSED, SERVE_WITHIN
from shardproxy.topology.reload import ReloadPlan, ServeError, reload_plan
from tests.unit.topology.make import A as ONE
from tests.unit.topology.make import B as TWO
from tests.unit.topology.make import clusters, following, memcached, record, redis


def cluster(port: int, node: int, **options: Any) -> dict[str, Any]:
    return redis((Address("127.0.0.1", node),), port=port, **options)


A, B = cluster(7000, 7101), cluster(7001, 7201)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param({}, {"a": A, "b": B}, ReloadPlan((), ("a", "b"), ()), id="a start"),
        pytest.param({"a": A, "b": B}, {"a": A, "b": B}, ReloadPlan((), (), ()), id="nothing"),
        pytest.param(
            {"a": A, "b": B}, {"a": A, "b": cluster(7001, 7202)}, ReloadPlan((), ("b",), ()), id="other nodes"
        ),
        pytest.param(
            {"a": A}, {"a": {**A, "limits": {"clients": 7}}}, ReloadPlan((), ("a",), ()), id="other limits"
        ),
        pytest.param({"a": A, "b": B}, {"a": A}, ReloadPlan((), (), ("b",)), id="one cluster less"),
        pytest.param({"a": A}, {"c": A}, ReloadPlan(("a",), ("c",), ()), id="another name, same address"),
    ],
)
def test_plan(old: dict[str, Any], new: dict[str, Any], expected: ReloadPlan) -> None:
    assert reload_plan(clusters(**old) if old else {}, clusters(**new)) == expected


async def test_only_what_changed_is_served_again() -> None:
    async with following(a=A, b=B) as site:
        site.plane.told.clear()
        other = clusters(a=A, b=cluster(7001, 7202))
        assert await site.serve(other) == {"b": ["127.0.0.1:7001"]}
        assert [spec["name"] for spec in site.plane.told] == ["b"]


async def test_a_role_that_moved_survives_a_reload_of_limits() -> None:
    key = ShardKey("a", 0)
    async with following(a=redis((ONE, TWO))) as site:
        site.put(record(primary=TWO, key=key))
        await site.settle()
        await site.serve(clusters(a=redis((ONE, TWO), limits={"clients": 7})))
        assert site.plane.primaries("a") == [str(TWO)]
        assert site.plane.specs["a"]["limits"]["clients"] == 7
        assert site.plane.specs["a"]["epoch"] == 5


async def test_clusters_may_hand_an_address_on() -> None:
    async with following(a=cluster(7000, 7101), b=cluster(7001, 7201)) as site:
        await site.serve(clusters(a=cluster(7001, 7101), b=cluster(7002, 7201)))
        assert site.plane.listening == {"a": ["127.0.0.1:7001"], "b": ["127.0.0.1:7002"]}


async def test_a_renamed_cluster_keeps_its_address() -> None:
    async with following(a=A) as site:
        await site.serve(clusters(c=A))
        assert site.plane.listening == {"c": ["127.0.0.1:7000"]}
        assert set(site.follower.topologies) == set(site.follower.clusters) == {"c"}


async def test_a_cluster_may_become_one_of_another_engine() -> None:
    async with following(a=redis((ONE,))) as site:
        site.put(record(nodes=(ONE,), key=ShardKey("a", 0), changed=40))
        await site.settle()
        await site.serve(clusters(a=memcached(ONE)))
        assert (site.plane.specs["a"]["engine"], site.plane.specs["a"]["epoch"]) == ("memcached", 1)
        await site.serve(clusters(a=redis((ONE,))))
        assert (site.plane.specs["a"]["engine"], site.plane.specs["a"]["epoch"]) == ("redis", 40)


TAKEN = OSError(98, "Address already in use")
OLD = clusters(a=cluster(7000, 7101), b=cluster(7001, 7201), r=cluster(7005, 7501))
NEW = clusters(
    a=cluster(7001, 7102),
    b=cluster(7002, 7201),
    c=cluster(7003, 7301),
    s=cluster(7005, 7501),
    d=cluster(7004, 7401),
)


async def test_a_refused_config_leaves_what_was() -> None:
    """One took another's address, one is new, one was renamed; then the last address is not to be had."""
    async with following() as site:
        await site.serve(OLD)
        before = {name: topology.shards for name, topology in site.follower.topologies.items()}
        site.plane.unreachable["127.0.0.1:7004"] = TAKEN
        with pytest.raises(ServeError) as refusal:
            await site.serve(NEW)
        assert (refusal.value.cluster, refusal.value.cause) == ("d", TAKEN)
        was = {"a": ["127.0.0.1:7000"], "b": ["127.0.0.1:7001"], "r": ["127.0.0.1:7005"]}
        assert site.plane.listening == was
        assert {name: topology.shards for name, topology in site.follower.topologies.items()} == before
        assert {name: now.settings for name, now in site.follower.clusters.items()} == OLD


async def test_a_role_that_moves_while_a_config_is_refused_is_kept() -> None:
    key = ShardKey("a", 0)
    async with following(a=redis((ONE, TWO)), b=B) as site:
        site.put(record(key=key, changed=5))
        await site.settle()
        site.plane.unreachable["127.0.0.1:7009"] = TAKEN
        site.put(record(primary=TWO, key=key, changed=6, epoch=4))
        with pytest.raises(ServeError):
            await site.serve(clusters(a=redis((ONE, TWO), limits={"clients": 7}), b=cluster(7009, 7201)))
        assert site.plane.primaries("a") == [str(TWO)]
        assert site.plane.specs["a"]["limits"]["clients"] != 7
        assert site.follower.applied[key] == 6


async def test_a_change_of_a_pool_that_cannot_be_noted_is_refused() -> None:
    """One that is served anew is served all the same: nobody waits for a store to have a cache."""
    async with following(a=A) as site:

        async def refuse(key: NoteKey, value: object, *, expected: int | None = None) -> Note:
            raise StoreUnavailableError("no quorum")

        site.notebook.note = refuse  # type: ignore[method-assign]
        await site.serve(clusters(a=A, p=memcached(TWO, port=7010)))
        assert site.plane.specs["p"]["epoch"] == 1
        with pytest.raises(ServeError, match="cluster p: no quorum"):
            await site.serve(clusters(a=A, p=memcached(TWO, Address("127.0.0.1", 7399), port=7010)))
        assert [node["address"] for s in site.plane.specs["p"]["shards"] for node in s["nodes"]] == [str(TWO)]


async def test_what_cannot_be_served_again_is_tried_on_and_on(autojump_clock: trio.testing.MockClock) -> None:
    async with following(a=redis((ONE,))) as site:
        site.plane.refuses = [TAKEN] * 3
        with pytest.raises(ServeError):
            await site.serve(clusters(a=memcached(ONE)))
        assert site.plane.specs == {}
        await trio.sleep(REFUSED * 2.5)
        assert site.plane.specs["a"]["engine"] == "redis"


async def test_a_config_without_what_was_lost_ends_the_tries(autojump_clock: trio.testing.MockClock) -> None:
    async with following(a=redis((ONE,))) as site:
        site.plane.refuses = [TAKEN] * 3
        with pytest.raises(ServeError):
            await site.serve(clusters(a=memcached(ONE)))
        site.plane.refuses = []
        await site.serve(clusters(b=redis((TWO,))))
        await trio.sleep(REFUSED * 2.5)
        assert set(site.plane.specs) == {"b"}


async def test_a_cluster_of_another_engine_gives_way_to_the_one_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The new one was taken, but not by all workers; its epochs are others."""
    async with following(a=redis((ONE,))) as site:
        await site.notebook.note(NoteKey("a", NoteKind.EPOCH), {"epoch": 70, "digest": "x"})
        site.plane.late_until = trio.current_time() + SERVE_WITHIN + LATE
        with pytest.raises(ServeError):
            await site.serve(clusters(a=memcached(ONE)))
        await trio.sleep(REFUSED)
        assert site.plane.specs["a"]["engine"] == "redis"
