"""Asks somebody else's nodes, or Sentinels, which shards there are. Asks again whenever it is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import trio

from shardproxy.importing.access import Access
from shardproxy.importing.errors import ForeignError
from shardproxy.importing.facts import Facts, facts_ask
from shardproxy.importing.found import Found, FoundShard, Kind
from shardproxy.importing.url import Foreign
from shardproxy.model import Address
from shardproxy.model.replication import Role
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks
from shardproxy.topology.sources.cluster.decide import ClusterLayout, decide
from shardproxy.topology.sources.cluster.poll import views_ask
from shardproxy.topology.sources.cluster.view import View
from shardproxy.topology.sources.sentinel.answers import Answer, AnswerError, answer_read, questions

TRIES = 3  # at what nodes of a Redis Cluster say: in a failover they disagree
GAP = 1.0  # seconds between these
SENTINEL_TIMEOUT = 5.0  # seconds


async def find(foreign: Foreign, access: Access) -> Found:
    """Say what is there now; raise ForeignError."""
    async with access.links() as links:
        if foreign.name:
            async with access.sentinel_links() as sentinels:
                answer = await _named(sentinels, foreign)
            return await _sentinel(links, answer)
        facts = await _first(links, foreign)
        if facts.is_proxy:
            return Found(Kind.PROXY, (FoundShard(facts.address),), {facts.address: facts})
        if facts.mode == "cluster":
            return await _cluster(links, foreign)
        return await _standalone(links, facts, foreign.addresses)


async def _first(links: NodeLinks, foreign: Foreign) -> Facts:
    """Whoever answers first in their order."""
    said: list[str] = []
    for address in foreign.addresses:
        try:
            return await facts_ask(links, address)
        except ForeignError as error:
            said.append(str(error))
    raise ForeignError("; ".join(said))


async def _standalone(links: NodeLinks, facts: Facts, given: Iterable[Address]) -> Found:
    primary = facts
    if facts.replication.role is Role.REPLICA:
        follows = facts.replication.follows
        assert follows is not None, "a replica says whom it follows"
        try:
            primary = await facts_ask(links, follows)
        except ForeignError as error:
            why = f"{facts.address} is a replica, and its primary cannot be asked: {error}"
            raise ForeignError(why) from None
        if primary.replication.role is Role.REPLICA:
            raise ForeignError(f"{facts.address} follows {follows}, which is a replica too: name the primary")
    attached = [one.address for one in primary.replication.attached if one.is_online and one.address.port]
    replicas = await _following(links, primary, (*given, *attached))
    return Found(
        Kind.STANDALONE,
        (FoundShard(primary.address, replicas),),
        {primary.address: primary},
    )


async def _sentinel(links: NodeLinks, answer: Answer) -> Found:
    primary = await facts_ask(links, answer.primary)
    if primary.replication.role is not Role.PRIMARY:
        raise ForeignError(f"{primary.address}, which Sentinels call the primary, is none now: try again")
    replicas = await _following(links, primary, (r.address for r in answer.replicas if not r.is_down))
    return Found(Kind.SENTINEL, (FoundShard(primary.address, replicas),), {primary.address: primary})


async def _named(links: NodeLinks, foreign: Foreign) -> Answer:
    """What most of the Sentinels that answer say; of as many, the one with the newest failover."""
    answers: list[Answer] = []
    said: list[str] = []

    async def ask(address: Address) -> None:
        try:
            replies = await links.request_many(address, questions(foreign.name), timeout=SENTINEL_TIMEOUT)
            if (answer := answer_read(replies)) is None:
                said.append(f"{address} does not know {foreign.name}")
            else:
                answers.append(answer)
        except NodeError as error:
            said.append(f"{address}: {error.failure.text}")
        except NodeFailure as error:
            said.append(f"{address}: {error.why}")
        except AnswerError as error:
            said.append(f"{address}: {error}")

    async with trio.open_nursery() as nursery:
        for address in foreign.addresses:
            nursery.start_soon(ask, address)
    if not answers:
        raise ForeignError(f"no Sentinel helps: {'; '.join(sorted(said))}")
    counts = Counter(answer.primary for answer in answers)
    return max(answers, key=lambda answer: (counts[answer.primary], answer.epoch))


async def _following(links: NodeLinks, primary: Facts, nodes: Iterable[Address]) -> tuple[Address, ...]:
    """Those of these that answer, and have the same history as the primary."""
    found: dict[Address, None] = {}

    async def ask(node: Address) -> None:
        try:
            replication = (await facts_ask(links, node)).replication
        except ForeignError:
            return  # behind a NAT, or away: the primary is left
        is_same = replication.lineage.replid == primary.replication.lineage.replid
        if replication.role is Role.REPLICA and replication.is_link_up and is_same:
            found[node] = None

    wanted = dict.fromkeys(node for node in nodes if node != primary.address)
    async with trio.open_nursery() as nursery:
        for node in wanted:
            nursery.start_soon(ask, node)
    return tuple(node for node in wanted if node in found)


async def _cluster(links: NodeLinks, foreign: Foreign) -> Found:
    if foreign.database:
        raise ForeignError(f"{foreign}: a Redis Cluster has database 0 alone")
    layout = await _layout(links, foreign)
    facts: dict[Address, Facts] = {}
    shards: list[FoundShard] = []
    for group in layout.groups:
        primary = facts[group.address] = await facts_ask(links, group.address)
        replicas = await _following(links, primary, (address for _, address in group.replicas))
        shards.append(FoundShard(group.address, replicas, group.slots))
    return Found(Kind.REDIS_CLUSTER, tuple(shards), facts)


async def _layout(links: NodeLinks, foreign: Foreign) -> ClusterLayout:
    why = ""
    for turn in range(TRIES):
        if turn:
            await trio.sleep(GAP)
        first = await views_ask(links, foreign.addresses)
        known = {
            member.address
            for view in first.values()
            if isinstance(view, View)
            for member in view.members.values()
            if member.address is not None and not member.has_failed
        }
        said = {**first, **await views_ask(links, known - set(first))}
        layout = decide([view for view in said.values() if isinstance(view, View)])
        if isinstance(layout, ClusterLayout):
            return layout
        why = layout
    raise ForeignError(f"{foreign}: {why}")
