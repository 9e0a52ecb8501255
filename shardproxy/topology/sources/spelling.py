"""One name for each node, however Sentinels, nodes and the config spell it: by name, by IP address."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from shardproxy.model import Address
from shardproxy.nodes import resolve
from shardproxy.nodes.resolve import is_literal

RESOLVE_TIMEOUT = 0.5  # seconds; a name that is not found in time stands for itself


class Spelling:
    """`of` gives the preferred spelling, of a node that has been `learned`."""

    def __init__(self, preferred: Iterable[Address] = ()) -> None:
        self._preferred = tuple(preferred)  # as in the config, the first to be asked for
        self._places: dict[Address, tuple[Address, ...]] = {}  # by spelling: IP addresses with the port
        self._names: dict[Address, Address] = {}  # by IP address with its port

    async def learn(self, addresses: Iterable[Address]) -> None:
        """Look up the names among them, and those preferred; literal addresses cost nothing."""
        wanted = dict.fromkeys((*self._preferred, *addresses))
        with trio.move_on_after(RESOLVE_TIMEOUT):
            async with trio.open_nursery() as nursery:
                for address in wanted:
                    if not address.is_unix and not is_literal(address.host):
                        nursery.start_soon(self._look_up, address)
        names: dict[Address, Address] = {}
        for address in wanted:
            for place in self._places.get(address, (address,)):
                known = names.get(place)
                if known is None or (is_literal(known.host) and known not in self._preferred):
                    names[place] = address  # a name outlives the address that it has now
        self._names = names

    def of(self, address: Address) -> Address:
        """The spelling that stands for the node everywhere."""
        for place in self._places.get(address, (address,)):
            if (name := self._names.get(place)) is not None:
                return name
        return address

    async def _look_up(self, address: Address) -> None:
        try:
            hosts = await resolve(address.host)
        except OSError:
            return
        self._places[address] = tuple(Address(host, address.port) for host in hosts)
