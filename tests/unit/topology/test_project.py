"""What is served, from what is configured, on record and known of the nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shardproxy.config.slots import Slots, parse_slots
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, Node, SlotRange
from shardproxy.model.health import EngineLimits, NodeHealth, NodeState
from shardproxy.model.replication import Role, Server, ShardKey
from shardproxy.store.record import Promise, ShardRecord, ShardState
from shardproxy.topology.fit import NOT_KNOWN, Fit, fit_of
from shardproxy.topology.project import Projection, epochs_of, news_of, project, shard_setups
from shardproxy.topology.supervisor import only_zone
from tests.unit.topology.make import KEY, OTHER, A, B, C, D, clusters, record, redis, seen

EVERY = (SlotRange(0, 16383),)
PROMISED = Promise(frozenset({B, C}), wait=1)


def setup(*nodes: Address, key: ShardKey = KEY, slots: Slots = EVERY, **fields: Any) -> ShardSetup:
    return ShardSetup(key, tuple(Node(node) for node in nodes), slots=slots, **fields)


def projected(
    setups: tuple[ShardSetup, ...], *records: ShardRecord, fits: dict[ShardKey, Fit] | None = None
) -> Projection:
    by_key = {each.key: each for each in records}
    return project("main", setups, by_key, epochs_of(by_key).get("main", 0), fits or {})


def changed(projection: Projection) -> dict[ShardKey, int | None]:
    return {part.key: part.changed for part in projection.parts}


def addresses(nodes: tuple[Node, ...]) -> list[Address]:
    return [node.address for node in nodes]


S = ShardState


@pytest.mark.parametrize(
    ("seen", "primary", "replicas"),
    [
        pytest.param(None, None, [A, B], id="no record: any of several may have the newest data"),
        pytest.param(record(S.NEW, None), None, [A, B], id="new"),
        pytest.param(record(S.OK, B), B, [A], id="after a failover"),
        pytest.param(record(S.FENCING, None, last=A), None, [A, B], id="in the middle of one"),
        pytest.param(record(S.HELD, None, last=A), None, [A, B], id="nobody may be promoted"),
        pytest.param(record(S.PROMOTING, None, last=A, target=B), None, [A, B], id="B may be a primary"),
        pytest.param(record(S.SWITCHING, None, last=A, target=B), A, [B], id="a switchover: A is asked on"),
        pytest.param(record(S.SWITCHING, None), None, [A, B], id="a switchover from nobody known"),
        pytest.param(record(S.CONFLICT, None), None, [A, B], id="two say they are"),
        pytest.param(record(S.CONFLICT, A), None, [A, B], id="and one of them is on record"),
        pytest.param(record(S.OK, C, (B, C)), C, [A, B], id="the config has the primary no more"),
        pytest.param(record(S.OK, A, (A, C)), A, [B, C], id="nor another member"),
        pytest.param(record(S.OK, C, (C, D)), None, [A, B], id="the record is of other nodes"),
    ],
)
def test_requests_go_to_the_primary_on_record(
    seen: ShardRecord | None, primary: Address | None, replicas: list[Address]
) -> None:
    (shard,) = projected((setup(A, B),), *([seen] if seen else [])).topology.shards
    assert (shard.primary.address if shard.primary else None) == primary
    assert addresses(shard.replicas) == replicas


@pytest.mark.parametrize(
    ("seen", "primary"),
    [
        pytest.param(None, A, id="no record: whoever is alone has to be it"),
        pytest.param(record(S.NEW, None, (A,)), A, id="new"),
        pytest.param(record(S.OK, C, (C, D)), A, id="the record is of other nodes"),
        pytest.param(record(S.OK, A, (A,)), A, id="on record"),
        pytest.param(record(S.FENCING, None, (A,), last=A), None, id="fenced"),
    ],
)
def test_a_node_that_is_alone(seen: ShardRecord | None, primary: Address | None) -> None:
    (shard,) = projected((setup(A),), *([seen] if seen else [])).topology.shards
    assert (shard.primary.address if shard.primary else None) == primary


LOW, HIGH, MIDDLE = parse_slots("0-8191"), parse_slots("8192-16383"), parse_slots("4000-9000")


@pytest.mark.parametrize(
    ("first", "second", "served"),
    [
        pytest.param(HIGH, LOW, (HIGH, LOW), id="on record, whatever is configured"),
        pytest.param(LOW, (), (LOW, HIGH), id="one has none on record"),
        pytest.param(LOW, MIDDLE, (LOW, HIGH), id="some twice, some nobody's"),
        pytest.param(EVERY, HIGH, (LOW, HIGH), id="some twice"),
        pytest.param(LOW, parse_slots("8193-16383"), (LOW, HIGH), id="one is nobody's"),
        pytest.param(
            parse_slots("0-99,200,300-16383"),
            parse_slots("100-199,201-299"),
            (parse_slots("0-99,200,300-16383"), parse_slots("100-199,201-299")),
            id="in pieces",
        ),
    ],
)
def test_slots_are_those_on_record_if_they_are_all_slots_once(
    first: Slots, second: Slots, served: tuple[Slots, Slots]
) -> None:
    setups = (setup(A, slots=LOW), setup(B, key=OTHER, slots=HIGH))
    records = (
        record(nodes=(A,), slots=first),
        record(nodes=(B,), primary=B, key=OTHER, slots=second),
    )
    now = projected(setups, *records).topology
    assert tuple(shard.slots for shard in now.shards) == served


def test_slots_stay_on_record_when_a_shard_gets_other_nodes() -> None:
    setups = (setup(C, slots=LOW), setup(B, key=OTHER, slots=HIGH))
    records = (record(nodes=(A,), slots=HIGH), record(nodes=(B,), primary=B, key=OTHER, slots=LOW))
    assert [shard.slots for shard in projected(setups, *records).topology.shards] == [HIGH, LOW]


def test_a_shard_without_a_record_has_what_nobody_has_on_record() -> None:
    setups = (setup(A, slots=LOW), setup(B, key=OTHER, slots=HIGH))
    (first, second) = projected(setups, record(nodes=(A,), slots=EVERY)).topology.shards
    assert (first.slots, second.slots) == (EVERY, ())
    (first, second) = projected(setups, record(nodes=(A,), slots=LOW)).topology.shards
    assert (first.slots, second.slots) == (LOW, HIGH)


def test_where_something_else_decides_slots_are_as_it_was_found() -> None:
    setups = tuple(
        replace(one, decider="sentinel") for one in (setup(A, slots=LOW), setup(B, key=OTHER, slots=HIGH))
    )
    records = (record(nodes=(A,), slots=HIGH), record(nodes=(B,), primary=B, key=OTHER, slots=LOW))
    assert [shard.slots for shard in projected(setups, *records).topology.shards] == [LOW, HIGH]


def test_slots_that_only_other_proxies_have_a_shard_for_are_not_served_by_ours() -> None:
    third = ShardKey("main", 2)
    quarter, rest = parse_slots("8192-12287"), parse_slots("12288-16383")
    setups = (setup(A, slots=LOW), setup(B, key=OTHER, slots=HIGH))
    own = (record(nodes=(A,), slots=LOW), record(nodes=(B,), primary=B, key=OTHER, slots=HIGH))
    before = projected(setups, *own)
    moved = {
        each.key: each
        for each in (own[0], replace(own[1], slots=quarter), record(nodes=(C,), key=third, slots=rest))
    }
    now = project("main", setups, moved, 9, {}, before)
    assert [shard.slots for shard in now.topology.shards] == [LOW, quarter, rest]
    assert [shard.is_refused for shard in now.topology.shards] == [False, False, True]
    assert project("main", setups, {each.key: each for each in own}, 9, {}, now).parts == before.parts


def test_a_shard_whose_nodes_another_proxy_calls_otherwise_is_served_on() -> None:
    setups = (setup(A, B),)
    before = projected(setups, record(nodes=(A, B)))
    renamed = record(S.OK, C, (C, D))
    now = project("main", setups, {KEY: renamed}, 9, {}, before)
    assert now.topology.shards[0].primary == Node(C)
    again = project("main", setups, {KEY: replace(renamed, primary=D)}, 10, {}, now)
    assert again.topology.shards[0].primary == Node(D)
    other = project("main", (setup(A),), {KEY: renamed}, 9, {}, before)
    assert other.topology.shards[0].primary == Node(A)


def test_the_epoch_is_the_last_change_also_of_shards_that_have_left() -> None:
    records = {
        KEY: record(changed=5),
        OTHER: record(key=OTHER, changed=9),
        ShardKey("pages", 0): record(key=ShardKey("pages", 0), changed=11),
    }
    assert epochs_of(records) == {"main": 9, "pages": 11}
    assert projected((setup(A, B),), *records.values()).topology.epoch == 9
    assert projected((setup(A, B),)).topology.epoch == 0


def test_a_shard_is_known_by_its_number_and_found_by_its_place() -> None:
    setups = (setup(A, key=ShardKey("main", 2), slots=LOW, name="users"), setup(B, key=ShardKey("main", 7)))
    topology = projected(setups).topology
    assert [(s.index, s.number, s.name, s.label) for s in topology.shards] == [
        (0, 2, "users", "users"),
        (1, 7, None, "7"),
    ]
    assert [part.terms.label for part in projected(setups).parts] == ["users", "7"]
    assert topology.key_of(topology.shards[1]) == ShardKey("main", 7)
    assert topology.shard_numbered(7) is topology.shards[1]
    assert topology.shard_numbered(0) is None


@pytest.mark.parametrize(
    ("seen", "run_id"),
    [
        (None, None),
        (record(S.OK, A, run_id="r"), "r"),
        (record(S.OK, A), None),
        (record(S.SWITCHING, None, last=A, run_id="r"), "r"),
        (record(S.FENCING, None, last=A, run_id="r"), None),
        (record(S.OK, C, (C, D), run_id="r"), None),
    ],
)
def test_only_the_process_on_record_is_spoken_to(seen: ShardRecord | None, run_id: str | None) -> None:
    (part,) = projected((setup(A, B),), *([seen] if seen else [])).parts
    assert part.terms.run_id == run_id


def test_a_write_waits_as_promised_on_record() -> None:
    fits = {KEY: Fit(voters=frozenset({B}))}
    unknown = projected((setup(A, B, wait=2),), fits=fits).parts[0].terms
    assert (unknown.wait, unknown.voters) == (2, frozenset({B}))
    promised = projected((setup(A, B, wait=2),), record(promise=PROMISED), fits=fits).parts[0].terms
    assert (promised.wait, promised.voters) == (2, frozenset({B}))
    less = projected((setup(A, B),), record(promise=PROMISED), fits=fits).parts[0].terms
    assert (less.wait, less.voters) == (1, frozenset({B}))
    none = projected((setup(A, B),), record(), fits=fits).parts[0].terms
    assert (none.wait, none.voters) == (0, None)


def test_what_may_be_acknowledged_is_what_it_was_made_of() -> None:
    setups = (setup(A, B, slots=LOW), setup(C, key=OTHER, slots=HIGH))
    assert changed(projected(setups)) == {KEY: None, OTHER: None}
    assert changed(projected(setups, record(changed=5))) == {KEY: 5, OTHER: None}
    elsewhere = record(key=ShardKey("main", 4), changed=9)
    assert changed(projected(setups, record(changed=5), elsewhere)) == {KEY: 5, OTHER: None}
    other_nodes = record(S.OK, D, (D,), changed=6)
    assert changed(projected(setups, other_nodes))[KEY] == 6, "nobody is served by its nodes any more"


def test_news_tell_of_each_shard_whose_record_changed() -> None:
    setups = (setup(A, B, slots=LOW, name="users"), setup(C, key=OTHER, slots=HIGH))
    first, second = record(changed=5), record(nodes=(C,), primary=C, key=OTHER, changed=6)
    fenced = record(S.FENCING, None, last=A, changed=7, epoch=4)
    before, now = projected(setups, first), projected(setups, fenced, second)
    said = "shard users fencing at epoch 4, no primary; shard 1 ok at epoch 3, primary 127.0.0.1:7103"
    assert news_of(before, now) == said
    many = tuple(setup(A, key=ShardKey("main", n)) for n in range(7))
    records = [record(nodes=(A,), key=each.key) for each in many]
    told = news_of(projected(many), projected(many, *records))
    assert told.endswith("shard 4 ok at epoch 3, primary 127.0.0.1:7101; and 2 more")


def test_what_is_as_before_is_not_made_anew() -> None:
    setups = (setup(A, B, slots=LOW), setup(C, key=OTHER, slots=HIGH))
    records = {KEY: record(changed=5), OTHER: record(nodes=(C,), primary=C, key=OTHER, changed=6)}
    before = project("main", setups, records, 6, {})
    assert project("main", setups, records, 6, {}, before) is before
    assert project("main", setups, records, 7, {}, before).parts == before.parts
    lower = replace(records[KEY], floor=9)
    now = project("main", setups, {**records, KEY: lower}, 6, {}, before)
    assert now.parts[1] is before.parts[1]
    assert now.parts[0].record is lower
    assert now.is_told_by(before), "a floor is nobody's but the controller's"
    fenced = record(S.FENCING, None, last=A, changed=7)
    assert not project("main", setups, {**records, KEY: fenced}, 7, {}, before).is_told_by(before)
    for fit in (Fit(readable=frozenset()), Fit(readable=frozenset({A}))):
        assert not project("main", setups, records, 6, {KEY: fit}, before).is_told_by(before)
    swapped = project("main", setups[::-1], records, 6, {}, before)
    assert [part.shard.index for part in swapped.parts] == [0, 1]


def test_setups_are_ordered_by_number_and_say_what_is_configured() -> None:
    settings = clusters(
        main=redis((A, B), (C, D), writes={"wait": 1, "min_replicas": 1}, replication="managed")
    )["main"]
    first, second = shard_setups("main", settings, {})
    assert (first.key, second.key) == (KEY, OTHER)
    assert (first.slots, second.slots) == (LOW, HIGH)
    assert second.addresses == (C, D)
    assert (first.wait, first.min_replicas, first.is_managed, first.is_automatic) == (1, 1, True, True)


# --- fit ---

ASKED = {(KEY, A): seen(), (KEY, B): seen(seen_as=Address("10.0.0.2", 7102)), (KEY, C): seen()}
READS = frozenset({B})
BEFORE = Fit(frozenset({C}))
SHARD = setup(A, B, C)


@pytest.mark.parametrize(
    ("healths", "reads", "before", "readable"),
    [
        pytest.param(ASKED, READS, NOT_KNOWN, READS, id="everybody was asked"),
        pytest.param({}, READS, NOT_KNOWN, None, id="nobody was asked"),
        pytest.param({(KEY, A): seen()}, READS, NOT_KNOWN, None, id="one was not asked"),
        pytest.param(
            {**ASKED, (KEY, A): seen(epoch=2)}, READS, BEFORE, BEFORE.readable, id="in its old role"
        ),
        pytest.param(ASKED, None, BEFORE, BEFORE.readable, id="watched no more"),
        pytest.param(ASKED, None, NOT_KNOWN, None, id="not watched yet"),
        pytest.param(
            {**ASKED, (KEY, A): seen(state=NodeState.UNKNOWN)}, READS, NOT_KNOWN, None, id="no answer yet"
        ),
        pytest.param(
            {**ASKED, (KEY, A): replace(seen(), replication=None)}, READS, NOT_KNOWN, None, id="PING only"
        ),
        pytest.param(
            {**ASKED, (KEY, A): replace(seen(state=NodeState.CUT_OFF), replication=None)},
            READS,
            NOT_KNOWN,
            READS,
            id="one is down",
        ),
    ],
)
def test_readable_replicas_are_as_before_until_all_were_asked(
    healths: Any, reads: frozenset[Address] | None, before: Fit, readable: frozenset[Address] | None
) -> None:
    assert fit_of(SHARD, record(nodes=(A, B, C)), reads, healths, before).readable == readable


def test_nothing_is_known_of_a_shard_without_a_record() -> None:
    assert fit_of(SHARD, None, READS, ASKED, NOT_KNOWN).readable is None
    assert fit_of(SHARD, record(S.NEW, None), READS, ASKED, NOT_KNOWN).readable is None


def test_voters_are_named_as_their_primary_lists_them() -> None:
    promised = record(nodes=(A, B, C), promise=PROMISED)
    seen_as = Address("10.0.0.2", 7102)
    assert fit_of(SHARD, promised, READS, ASKED, NOT_KNOWN).voters == frozenset({B, C, seen_as})
    assert fit_of(SHARD, promised, READS, {}, NOT_KNOWN).voters == frozenset({B, C})
    assert fit_of(SHARD, record(promise=Promise(frozenset({B}))), READS, ASKED, NOT_KNOWN).voters is None


CURRENT = replace(seen(), is_current=True)
JOINED = record(nodes=(A, B), joined=(A, B))


@pytest.mark.parametrize(
    ("about", "healths", "is_paused", "is_replaceable"),
    [
        pytest.param(JOINED, {B: CURRENT}, False, True, id="a replica is ready"),
        pytest.param(JOINED, {B: CURRENT}, True, False, id="paused"),
        pytest.param(JOINED, {B: seen()}, False, False, id="it lags"),
        pytest.param(JOINED, {B: replace(CURRENT, manager="Sentinel")}, False, False, id="others decide"),
        pytest.param(
            JOINED,
            {B: replace(CURRENT, verdict=seen(state=NodeState.UNWRITABLE).verdict)},
            False,
            False,
            id="it cannot write either",
        ),
        pytest.param(record(nodes=(A, B)), {B: CURRENT}, False, False, id="it never had the data"),
        pytest.param(JOINED, {A: CURRENT}, False, False, id="there is only the primary"),
    ],
)
def test_who_cannot_write_is_replaced_where_a_replica_is_ready(
    about: ShardRecord, healths: dict[Address, NodeHealth], is_paused: bool, is_replaceable: bool
) -> None:
    by_key = {(KEY, node): health for node, health in healths.items()}
    fit = fit_of(setup(A, B), about, READS, by_key, NOT_KNOWN, is_paused=is_paused)
    assert fit.is_replaceable is is_replaceable
    off = fit_of(setup(A, B, is_automatic=False), about, READS, by_key, NOT_KNOWN)
    assert off.is_replaceable is False
    (spec,) = (part.spec for part in projected((setup(A, B),), about, fits={KEY: fit}).parts)
    assert spec.get("replaceable", False) is is_replaceable


VOUCHED = record(nodes=(A, B, C), promise=Promise(frozenset({B, C})))
OUT_OF_TOUCH = "the proxy is out of touch with its store, so another node may be the primary: "


@pytest.mark.parametrize(
    ("primary", "replicas", "why"),
    [
        pytest.param(seen(Role.PRIMARY), (CURRENT, CURRENT), {}, id="all vouch"),
        pytest.param(
            seen(Role.PRIMARY),
            (CURRENT, seen()),
            dict.fromkeys((0, 2), f"1 of 2 replicas are in sync with {A}"),
            id="one is behind, and may be frozen",
        ),
        pytest.param(
            seen(Role.PRIMARY),
            (seen(), seen()),
            dict.fromkeys((0, 1, 2), f"no replica is in sync with {A}"),
            id="none vouches",
        ),
        pytest.param(
            seen(Role.PRIMARY, state=NodeState.SUSPECT),
            (CURRENT, CURRENT),
            dict.fromkeys((0, 1, 2), f"{A} does not answer"),
            id="silent",
        ),
        pytest.param(
            None, (CURRENT, CURRENT), dict.fromkeys((0, 1, 2), f"{A} does not answer"), id="not asked"
        ),
    ],
)
def test_who_does_not_know_what_is_on_record_has_writes_confirmed_or_refuses_them(
    primary: NodeHealth | None, replicas: tuple[NodeHealth, NodeHealth], why: dict[int, str]
) -> None:
    found = {(KEY, A): primary, (KEY, B): replicas[0], (KEY, C): replicas[1]}
    healths = {key: health for key, health in found.items() if health is not None}
    for wait, confirming in ((0, 2), (1, 1), (2, 2)):
        told = OUT_OF_TOUCH + why[wait] if wait in why else None
        about = replace(VOUCHED, promise=replace(VOUCHED.promise, wait=wait))
        fit = fit_of(SHARD, about, READS, healths, NOT_KNOWN, is_unsynced=True)
        (spec,) = (part.spec for part in projected((SHARD,), about, fits={KEY: fit}).parts)
        assert (spec["wait"], spec["voters"]) == (confirming, [str(B), str(C)])
        assert spec.get("read_only") == told
        synced = fit_of(SHARD, about, READS, healths, NOT_KNOWN)
        (spec,) = (part.spec for part in projected((SHARD,), about, fits={KEY: synced}).parts)
        assert (spec.get("wait", 0), "read_only" in spec) == (wait, False)


def test_where_nobody_else_could_be_the_primary_nothing_is_confirmed() -> None:
    for alone in (setup(A), setup(A, B, decider="sentinel")):
        fit = fit_of(alone, record(nodes=(A,)), READS, {}, NOT_KNOWN, is_unsynced=True)
        assert (fit.is_unsynced, fit.no_writes, fit.voters) == (False, None, None)


def test_what_others_may_fail_over_is_served_carefully_whatever_the_own_config_says() -> None:
    for own in (setup(A, B, is_automatic=False), setup(A)):
        fit = fit_of(own, record(promise=Promise(frozenset({B}))), READS, {}, NOT_KNOWN, is_unsynced=True)
        assert (fit.is_unsynced, fit.no_writes is not None, fit.voters) == (True, True, frozenset({B}))


def test_a_shard_without_a_primary_is_not_only_read() -> None:
    fenced = replace(record(S.FENCING, None, nodes=(A, B, C)), last=A)
    fit = fit_of(SHARD, fenced, READS, ASKED, NOT_KNOWN, is_unsynced=True)
    (spec,) = (part.spec for part in projected((SHARD,), fenced, fits={KEY: fit}).parts)
    assert "read_only" not in spec


CLUSTERED = replace(seen(Role.PRIMARY), server=Server("r" * 40, mode="cluster"))
PLAIN = replace(seen(Role.PRIMARY), server=Server("r" * 40))


@pytest.mark.parametrize(
    ("nodes", "about", "healths", "before", "foreign"),
    [
        pytest.param((A,), None, {A: CLUSTERED}, NOT_KNOWN, A, id="alone, and new"),
        pytest.param((A,), None, {A: PLAIN}, NOT_KNOWN, None, id="a plain one"),
        pytest.param((A,), None, {}, NOT_KNOWN, None, id="not asked yet"),
        pytest.param((A, B), None, {A: CLUSTERED}, NOT_KNOWN, None, id="nobody is primary yet"),
        pytest.param((A, B), record(), {A: CLUSTERED, B: PLAIN}, NOT_KNOWN, A, id="the primary"),
        pytest.param((A, B), record(), {A: PLAIN, B: CLUSTERED}, NOT_KNOWN, None, id="a replica"),
        pytest.param((A, B), record(), {}, Fit(foreign=A), A, id="as before while it is not asked"),
        pytest.param((A, B), record(), {}, Fit(foreign=B), None, id="another was"),
        pytest.param((A, B), record(), {A: PLAIN}, Fit(foreign=A), None, id="started as it should be"),
    ],
)
def test_a_node_of_a_redis_cluster_is_not_served(
    nodes: tuple[Address, ...],
    about: ShardRecord | None,
    healths: dict[Address, NodeHealth],
    before: Fit,
    foreign: Address | None,
) -> None:
    fit = fit_of(
        setup(*nodes), about, None, {(KEY, node): health for node, health in healths.items()}, before
    )
    assert fit.foreign == foreign
    projection = projected((setup(*nodes),), *([about] if about else []), fits={KEY: fit})
    (shard,), (part,) = projection.topology.shards, projection.parts
    assert shard.is_refused is (foreign is not None)
    assert part.spec.get("refused", False) is shard.is_refused
    if foreign is not None:
        assert shard.nodes == ()
        assert part.spec["nodes"] == []
        assert f"node {foreign} runs in cluster mode" in part.spec["why_not"]


@pytest.mark.parametrize(
    ("about", "said"),
    [
        (None, "its primary is not known yet"),
        (record(S.NEW, None), "its primary is not known yet"),
        (record(S.HELD, None, last=A), "came back without its data"),
        (record(S.CONFLICT, None), "claim to be the primary"),
        (record(S.FENCING, None, last=A), None),
        (record(S.PROMOTING, None, last=A, target=B), None),
        (record(), None),
    ],
)
def test_why_nobody_serves_is_told_where_it_is_no_failover(
    about: ShardRecord | None, said: str | None
) -> None:
    (part,) = projected((setup(A, B),), *([about] if about else [])).parts
    assert (said or "") in part.spec.get("why_not", "")
    assert ("why_not" in part.spec) is (said is not None)


def test_no_more_is_taken_from_clients_than_every_node_takes() -> None:
    healths = {
        (KEY, A): replace(seen(), limits=EngineLimits(1 << 20, 1 << 30)),
        (KEY, B): replace(seen(), limits=EngineLimits(512 << 20, 4 << 20)),
        (KEY, C): seen(),
    }
    fit = fit_of(SHARD, record(nodes=(A, B, C)), READS, healths, NOT_KNOWN)
    assert fit.limits == EngineLimits(1 << 20, 4 << 20)
    assert fit_of(SHARD, record(nodes=(A, B, C)), READS, {}, fit).limits == fit.limits, "as told last"
    (part,) = projected((SHARD,), record(nodes=(A, B, C)), fits={KEY: fit}).parts
    assert (part.spec["max_bulk"], part.spec["max_query"]) == (1 << 20, 4 << 20)


@pytest.mark.parametrize(
    ("zones", "only"), [(("a", "a"), "a"), (("a", "b"), None), (("a",), None), ((None, None), None)]
)
def test_a_shard_in_one_zone_is_told_of(zones: tuple[str | None, ...], only: str | None) -> None:
    nodes = tuple(Node(Address("127.0.0.1", 7100 + n), zone=zone) for n, zone in enumerate(zones))
    assert only_zone(ShardSetup(KEY, nodes)) == only
