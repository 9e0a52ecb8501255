"""Looks for nodes: lists and watches EndpointSlices, asks for DNS names again and again.

Where nothing answers, or nothing of use, all stays as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import trio

from shardproxy.config import Config
from shardproxy.config.discovery import Discovery
from shardproxy.config.store import KubernetesStore
from shardproxy.model import Address
from shardproxy.nodes.resolve import resolve
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.statistics import StoreStatistics
from shardproxy.topology.discovery.found import Found, Kept, found_in_slices, places_of, with_found
from shardproxy.topology.settings import SettingsError

if TYPE_CHECKING:
    import httpx

    from shardproxy.store.kubernetes.api import Api, Event

START = 10.0  # seconds in which every place has to answer once
FIRST = 0.5  # seconds between two looks for what was never found
AGAIN = 2.0  # seconds between two lookups of a name, and after a failure
WATCH = 30.0  # seconds after which slices are listed anew: a watch may have gone silent
SETTLED = 0.3  # seconds in which more news may come
TIMEOUT = 5.0  # seconds for an answer
SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"

log = structlog.get_logger()


class Finder:
    """Finds the nodes of configs that have some discovered; one that has none costs nothing."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._transport = transport
        self._places: dict[Discovery, Kept] = {}
        self._settings: tuple[KubernetesStore, Path] = (KubernetesStore(), Path("/"))
        self._scope = trio.CancelScope()
        self._news = trio.Event()
        self._said: dict[Discovery, str] = {}

    async def laid_over(self, config: Config) -> Config:
        """The config with the nodes that were found; raise SettingsError where none were."""
        places = places_of(config)
        if not places and not self._places:
            return config
        store = config.store.kubernetes if config.store is not None else None
        self._settings = (store or KubernetesStore(), config.source.directory)
        before, self._places = self._places, {}
        for place, limit in places.items():
            self._places[place] = before.get(place) or Kept(place.keep, limit)
        if set(before) != set(self._places):
            self._scope.cancel()  # others are to be looked for
        await self._find_new()
        if missing := [place for place, kept in self._places.items() if not kept.nodes]:
            why = [
                f"discover: {place.what}: {self._places[place].why_not or 'no answer'}" for place in missing
            ]
            self._places = before or self._places
            raise SettingsError(tuple(why))
        return with_found(config, {place: kept.nodes for place, kept in self._places.items()})

    async def run(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Call `changed` when other nodes were found, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_for_ever)
            while True:
                await self._news.wait()
                await trio.sleep(SETTLED)
                self._news = trio.Event()
                await changed()

    async def _look_for_ever(self) -> None:
        while True:
            with trio.CancelScope() as self._scope:
                async with trio.open_nursery() as nursery:
                    for namespace, places in self._services().items():
                        nursery.start_soon(self._watch_for_ever, namespace, places)
                    for place in self._places:
                        if place.dns is not None:
                            nursery.start_soon(self._ask_for_ever, place)
                    await trio.sleep_forever()

    async def _find_new(self) -> None:
        """Look for what was never found, until it is."""
        with trio.move_on_after(START):
            while not all(kept.nodes for kept in self._places.values()):
                async with trio.open_nursery() as nursery:
                    for namespace, places in self._services().items():
                        if any(not self._places[place].nodes for place in places):
                            nursery.start_soon(self._list, namespace, places)
                    for place, kept in self._places.items():
                        if place.dns is not None and not kept.nodes:
                            nursery.start_soon(self._ask, place)
                if not all(kept.nodes for kept in self._places.values()):
                    await trio.sleep(FIRST)

    def _services(self) -> dict[str | None, list[Discovery]]:
        """By namespace."""
        found: dict[str | None, list[Discovery]] = {}
        for place in self._places:
            if place.kubernetes is not None:
                found.setdefault(place.kubernetes.namespace, []).append(place)
        return found

    # --- Kubernetes ---

    async def _watch_for_ever(self, namespace: str | None, places: list[Discovery]) -> None:
        while True:
            await self._list(namespace, places, watch=WATCH)
            await trio.sleep(AGAIN)

    async def _list(self, namespace: str | None, places: list[Discovery], watch: float = 0.0) -> None:
        """Take what is listed, and what comes after that for so many seconds."""
        from shardproxy.store.kubernetes.api import Api  # of no use to most
        from shardproxy.store.kubernetes.credentials import access_of

        settings, directory = self._settings
        if namespace is not None:
            settings = settings.model_copy(update={"namespace": namespace})
        try:
            api = Api(
                access_of(settings, directory), StoreStatistics(), timeout=TIMEOUT, transport=self._transport
            )
            async with aclosing(api):
                await self._list_with(api, places, watch)
        except (StoreUnavailableError, ValueError, KeyError) as error:
            for place in places:
                self._not_found(place, str(error))

    async def _list_with(self, api: Api, places: list[Discovery], watch: float) -> None:
        services = sorted({place.kubernetes.service for place in places if place.kubernetes is not None})
        path = SLICES.format(api.namespace)
        query = {"labelSelector": f"kubernetes.io/service-name in ({','.join(services)})"}
        listed = await api.get(path, query)
        slices = {item["metadata"]["name"]: item for item in listed["items"]}
        self._take_slices(slices, places, api.namespace)

        def take(event: Event) -> None:
            name = event.object["metadata"].get("name")
            if event.kind == "DELETED":
                slices.pop(name, None)
            elif event.kind != "BOOKMARK":
                slices[name] = event.object
            self._take_slices(slices, places, api.namespace)

        if watch:
            with trio.move_on_after(watch):
                await api.watch(
                    path, {**query, "resourceVersion": listed["metadata"]["resourceVersion"]}, take
                )

    def _take_slices(
        self, slices: Mapping[str, Mapping[str, Any]], places: list[Discovery], namespace: str
    ) -> None:
        for place in places:
            if (wanted := place.kubernetes) is not None:
                of_it = [
                    one
                    for one in slices.values()
                    if one["metadata"]["labels"].get("kubernetes.io/service-name") == wanted.service
                ]
                self._take(place, found_in_slices(of_it, wanted, namespace))

    # --- DNS ---

    async def _ask_for_ever(self, place: Discovery) -> None:
        while True:
            await trio.sleep(AGAIN)
            await self._ask(place)

    async def _ask(self, place: Discovery) -> None:
        assert place.dns is not None
        try:
            with trio.fail_after(TIMEOUT):
                hosts = await resolve(place.dns.name)
        except (OSError, trio.TooSlowError) as error:
            self._not_found(place, str(error) or "no answer in time")
        else:
            self._take(place, tuple(Found(Address(host, place.dns.port)) for host in sorted(hosts)))

    # --- both ---

    def _take(self, place: Discovery, found: tuple[Found, ...]) -> None:
        if (kept := self._places.get(place)) is None:
            return
        if kept.take(found, trio.current_time()):
            log.info("nodes found", at=place.what, nodes=", ".join(str(one.address) for one in kept.nodes))
            self._news.set()
        if kept.why_not is not None:
            self._not_found(place, kept.why_not)
        else:
            self._said.pop(place, None)

    def _not_found(self, place: Discovery, why: str) -> None:
        if (kept := self._places.get(place)) is not None:
            kept.why_not = why
            if self._said.get(place) != why:
                self._said[place] = why
                log.warning("nodes not found, all stays as it is", at=place.what, why=why)
