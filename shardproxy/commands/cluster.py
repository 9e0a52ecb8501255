"""CLUSTER: the costume in which the configuration endpoint meets cluster clients.

Mode `proxy`: the proxies that serve it, each with a part of the slots, so that clients spread over them; one
that is alone has every slot. All of them answer for any slot, so nobody is ever sent on. Mode `direct`: the
nodes themselves, for clients that can reach them. The other endpoints are plain servers, as their INFO says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from shardproxy.commands.call import Call, CommandError, Handler, integer, text
from shardproxy.commands.shards import ask_shard
from shardproxy.config import Mode
from shardproxy.model import SLOT_COUNT, Address, Node, SlotRange
from shardproxy.model.topology import split_evenly
from shardproxy.topology.fleet import Peer, peers_told
from shardproxy.wire.reply import Reply, Verbatim

BUS_PORT_OFFSET = 10000  # Redis Cluster specification; there is no bus, but the output has a place for it
ANY_HOST = ("0.0.0.0", "::")  # an endpoint listens there; nobody connects to it
NO_ADDRESS = "ERR a unix socket has no address to tell cluster clients: set advertise on the endpoint"
DISABLED = "ERR This instance has cluster support disabled"


@dataclass(frozen=True, slots=True)
class Member:
    """A node as cluster clients are shown it."""

    id: str
    host: str
    port: int
    slots: tuple[SlotRange, ...] = ()  # a primary's
    primary: str | None = None  # a replica's primary, by id
    is_myself: bool = False
    zone: str | None = None

    @property
    def bus_port(self) -> int:
        bus = self.port + BUS_PORT_OFFSET
        return bus if bus < 1 << 16 else 0

    @property
    def role(self) -> str:
        return "slave" if self.primary else "master"


def members_of(call: Call) -> list[Member]:
    """The nodes of the costume, each primary followed by its replicas."""
    if not call.plays_cluster:
        raise CommandError(DISABLED)
    if call.settings.configuration is not None and call.settings.configuration.mode is Mode.DIRECT:
        return _nodes(call)
    peers = _peers(call)
    if any(not peer.is_myself for peer in peers):
        return _proxies(call, peers)
    me = _here(call)
    return [Member(_id(call, me), me.host, me.port, (SlotRange(0, SLOT_COUNT - 1),), is_myself=True)]


def _peers(call: Call) -> tuple[Peer, ...]:
    """The proxies that this client is told of."""
    here = Address.parse(call.offload.local_address)
    return peers_told(call.settings.peers(), is_tls=not here.is_unix and here.port in call.settings.tls_ports)


def _proxies(call: Call, peers: tuple[Peer, ...]) -> list[Member]:
    """Each with its part of the slots; this one has none where it drains, or is not known by now."""
    members = [
        Member(
            _id(call, peer.address),
            peer.address.host,
            peer.address.port,
            (slots,),
            is_myself=peer.is_myself,
            zone=peer.zone,
        )
        for peer, slots in zip(peers, split_evenly(len(peers)), strict=True)
    ]
    if not any(member.is_myself for member in members):
        me = _here(call)
        members.append(Member(_id(call, me), me.host, me.port, is_myself=True))
    return members


def _nodes(call: Call) -> list[Member]:
    members: list[Member] = []
    for shard in call.topology.shards:
        if shard.primary is None:
            continue
        primary = _id(call, shard.primary.address)
        members.append(_member(call, shard.primary, slots=shard.slots, is_myself=not members))
        members += [_member(call, replica, primary=primary) for replica in shard.replicas]
    return members


def _member(
    call: Call,
    node: Node,
    *,
    slots: tuple[SlotRange, ...] = (),
    primary: str | None = None,
    is_myself: bool = False,
) -> Member:
    address = node.address
    return Member(_id(call, address), address.host, address.port, slots, primary, is_myself)


def _here(call: Call) -> Address:
    """Where clients reach this proxy: as configured, or as this client did."""
    configuration = call.settings.configuration
    if configuration is not None and configuration.advertise is not None:
        return configuration.advertise
    here = Address.parse(call.offload.local_address)
    if not here.is_unix:
        return here
    listeners = configuration.addresses if configuration is not None else ()
    for address in listeners:
        if not address.is_unix and address.host not in ANY_HOST:
            return address
    raise CommandError(NO_ADDRESS)


def _id(call: Call, address: Address) -> str:
    """40 hex digits, the same whenever and wherever they are asked for."""
    return hashlib.sha1(f"{call.topology.cluster} {address}".encode(), usedforsecurity=False).hexdigest()


def _known(call: Call) -> Member:
    """The member that a subcommand's argument names."""
    for member in members_of(call):
        if member.id.encode() == call.args[2].lower():
            return member
    raise CommandError(f"ERR Unknown node {text(call.args[2])}")


def cluster_slots(call: Call) -> Reply:
    members = members_of(call)
    return [
        [
            slots.first,
            slots.last,
            _slots_node(primary),
            *(_slots_node(member) for member in members if member.primary == primary.id),
        ]
        for primary in members
        for slots in primary.slots
    ]


def _slots_node(member: Member) -> Reply:
    no_metadata: list[Reply] = []
    return [member.host, member.port, member.id, no_metadata]


def cluster_shards(call: Call) -> Reply:
    members = members_of(call)
    return [
        {
            "slots": [bound for slots in primary.slots for bound in (slots.first, slots.last)],
            "nodes": [_shards_node(m) for m in members if primary.id in (m.id, m.primary)],
        }
        for primary in members
        if primary.slots
    ]


def _shards_node(member: Member) -> dict[str, Reply]:
    zone: dict[str, Reply] = {"availability-zone": member.zone} if member.zone is not None else {}
    return {
        "id": member.id,
        "port": member.port,
        "ip": member.host,
        "endpoint": member.host,
        "role": "replica" if member.primary else "master",
        "replication-offset": 0,
        "health": "online",
        **zone,  # as Valkey calls it
    }


def cluster_nodes(call: Call) -> Reply:
    return Verbatim("".join(f"{_line(call, member)}\n" for member in members_of(call)))


def cluster_replicas(call: Call) -> Reply:
    node = _known(call)
    if node.primary is not None:
        raise CommandError("ERR The specified node is not a master")
    return [_line(call, member) for member in members_of(call) if member.primary == node.id]


def _line(call: Call, member: Member) -> str:
    """<id> <ip>:<port>@<bus> <flags> <primary> <ping> <pong> <epoch> <link> <slots...>"""
    flags = f"myself,{member.role}" if member.is_myself else member.role
    parts = [
        member.id,
        f"{member.host}:{member.port}@{member.bus_port}",
        flags,
        member.primary or "-",
        "0 0",
        str(call.topology.epoch),
        "connected",
        *map(str, member.slots),
    ]
    return " ".join(parts)


def cluster_info(call: Call) -> Reply:
    members = members_of(call)
    assigned = sum(len(slots) for member in members for slots in member.slots)
    fields = {
        "cluster_state": "ok",
        "cluster_slots_assigned": assigned,
        "cluster_slots_ok": assigned,
        "cluster_slots_pfail": 0,
        "cluster_slots_fail": 0,
        "cluster_known_nodes": len(members),
        "cluster_size": sum(bool(member.slots) for member in members),
        "cluster_current_epoch": call.topology.epoch,
        "cluster_my_epoch": call.topology.epoch,
        "cluster_stats_messages_sent": 0,
        "cluster_stats_messages_received": 0,
        "total_cluster_links_buffer_limit_exceeded": 0,
    }
    return Verbatim("".join(f"{name}:{value}\r\n" for name, value in fields.items()))


def cluster_myid(call: Call) -> Reply:
    return next(member.id for member in members_of(call) if member.is_myself)


def cluster_links(call: Call) -> Reply:
    members_of(call)
    return []


def cluster_count_failure_reports(call: Call) -> Reply:
    _known(call)
    return 0


def cluster_keyslot(call: Call) -> Reply:
    members_of(call)
    return call.slot_of(call.args[2])


async def cluster_keys_in_slot(call: Call) -> Reply:
    """COUNTKEYSINSLOT and GETKEYSINSLOT: only a node that runs as a Redis Cluster's has an index of slots."""
    members_of(call)
    slot, *counts = (integer(word) for word in call.args[2:])
    if not 0 <= slot < SLOT_COUNT or any(count < 0 for count in counts):
        raise CommandError("ERR Invalid slot or number of keys" if counts else "ERR Invalid slot")
    shard = call.topology.shard_of(slot)
    if shard is None:
        raise CommandError("CLUSTERDOWN Hash slot not served")
    answer = await ask_shard(call, shard, *call.args)
    if answer.failure is not None and answer.failure.text == DISABLED:
        name = text(call.args[1]).upper()
        raise CommandError(f"ERR CLUSTER {name} is not supported: the nodes keep no index of slots")
    if not answer.is_ok:
        raise CommandError(answer.error)
    return answer.reply


HANDLERS: Mapping[str, Handler] = {
    "cluster|count-failure-reports": cluster_count_failure_reports,
    "cluster|countkeysinslot": cluster_keys_in_slot,
    "cluster|getkeysinslot": cluster_keys_in_slot,
    "cluster|info": cluster_info,
    "cluster|keyslot": cluster_keyslot,
    "cluster|links": cluster_links,
    "cluster|myid": cluster_myid,
    "cluster|nodes": cluster_nodes,
    "cluster|replicas": cluster_replicas,
    "cluster|shards": cluster_shards,
    "cluster|slaves": cluster_replicas,
    "cluster|slots": cluster_slots,
}
