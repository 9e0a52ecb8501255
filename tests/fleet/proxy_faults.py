"""What goes wrong with many proxies and their store."""

from __future__ import annotations

import time
from contextlib import ExitStack

from shardproxy.store.record import ShardState
from tests.failover.network import Places
from tests.fixtures.proxy import wait_until
from tests.fleet.arrangement import Arrangement
from tests.fleet.faults import Fault, Strike
from tests.fleet.site import Proxies
from tests.fleet.steps import AtStep

GRACE = 1.0  # seconds between the restarts of proxies


def of_proxies(site: Arrangement) -> Proxies:
    assert isinstance(site, Proxies)
    return site


def kill_controller(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    ours = of_proxies(site)
    number = ours.controller()
    mend.callback(ours.revive, number)
    ours.kill(number)


def kill_controller_and_primary(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    node = site.primary()
    kill_controller(site, places, mend)
    mend.callback(node.start)
    node.kill()


def kill_controller_at(state: ShardState) -> Strike:
    """The primary dies, and the controller once the failover has come to that step."""

    def strike(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
        ours, node = of_proxies(site), site.primary()
        number = ours.controller()
        step = AtStep(ours, state, lambda: ours.kill(number))
        mend.callback(ours.revive, number)
        mend.callback(node.start)
        node.kill()
        wait_until(lambda: step.has_acted, f"a record is {state.value}")

    return strike


def freeze_controller_kill_primary(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    """Its clients are not told that it is frozen."""
    ours, node = of_proxies(site), site.primary()
    number = ours.controller()
    mend.callback(node.start)
    mend.callback(ours.gone.discard, number)
    mend.callback(ours.proxies[number].thaw)
    ours.proxies[number].freeze()
    ours.gone.add(number)
    node.kill()


def cut_controller(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    """From the primary, and from nothing else."""
    assert places is not None
    ours = of_proxies(site)
    mend.callback(places.mend)
    places.cut_proxy(ours.controller(), [site.primary().port])


def cut_proxy_from_store(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    """The controller, from the store, and from nothing else."""
    assert places is not None
    ours = of_proxies(site)
    mend.callback(places.mend)
    places.cut_proxy(ours.controller(), ours.store_ports)


def kill_etcd_leader(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    etcd = of_proxies(site).etcd
    assert etcd is not None
    mend.callback(etcd.start)
    etcd.leader().kill()


def kill_etcd(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    etcd = of_proxies(site).etcd
    assert etcd is not None
    mend.callback(etcd.start)
    etcd.kill()


def restart_proxies(site: Arrangement, places: Places | None, mend: ExitStack) -> None:
    """One after the other; the next process of each takes over from the one that runs."""
    for proxy in of_proxies(site).proxies:
        proxy.take_over()
        time.sleep(GRACE)


FAULTS_OF_PROXIES = {
    fault.name: fault
    for fault in (
        Fault("controller killed", kill_controller, 6.0),
        Fault("controller and primary killed", kill_controller_and_primary, 8.0),
        *(
            Fault(f"primary killed, controller when {state.value}", kill_controller_at(state), 8.0)
            for state in (ShardState.FENCING, ShardState.PROMOTING, ShardState.OK)
        ),
        Fault("controller frozen 10 s, primary killed", freeze_controller_kill_primary, 10.0),
        Fault("controller cut from primary 10 s", cut_controller, 10.0, needs_network=True),
        Fault("controller cut from store 10 s", cut_proxy_from_store, 10.0, needs_network=True),
        Fault("etcd leader killed", kill_etcd_leader, 5.0),
        Fault("etcd down 60 s", kill_etcd, 60.0),
        Fault("rolling restart of proxies", restart_proxies, 0.0),
    )
}
