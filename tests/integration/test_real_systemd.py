"""The units of deploy/systemd under a real systemd: notify, reload, watchdog, sockets, hardening."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest

from shardproxy.fleet import Fleet
from shardproxy.model import Address
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import cluster_of, wait_until, with_ports
from tests.fixtures.systemd import Systemd

CONFIG = "/etc/shardproxy/shardproxy.yaml"
DROP_IN = "/etc/systemd/system/shardproxy.{}.d/test.conf"
START = 60.0  # seconds for a service to start on a busy machine
MOST_EXPOSED = (
    13  # tenths, as systemd-analyze security counts: 10.0 is the worst, what is below 2 it calls fine
)


@pytest.fixture
def config(fleet: Fleet, systemd: Systemd) -> dict[str, Any]:
    config = with_ports({"workers": 1, "clusters": {"main": cluster_of(fleet)}})
    systemd.write(CONFIG, json.dumps(config))
    return config


def endpoint(config: dict[str, Any]) -> Address:
    return Address.parse(config["clusters"]["main"]["endpoints"]["configuration"])


def answer(config: dict[str, Any]) -> object:
    with closing(Wire(endpoint(config), START)) as client:
        return client.ask("PING")


def test_it_starts_reads_its_config_again_and_ends(systemd: Systemd, config: dict[str, Any]) -> None:
    """One life of the service: each start takes seconds on a busy machine."""
    systemd.ctl("start", "shardproxy.service")
    assert answer(config) == b"PONG"  # at once: `start` has waited for READY=1
    assert systemd.show("ActiveState") == "active"
    assert systemd.show("StatusText").startswith("serving main")
    state = systemd.run("sh", "-c", "stat -c '%a %U' /var/lib/private/shardproxy; ls /var/lib/shardproxy/")
    assert state.stdout.startswith("700 ")
    assert "root" not in state.stdout
    assert ".json" in state.stdout
    process = systemd.show("MainPID")
    config["clusters"]["main"]["limits"] = {"clients": 1}
    systemd.write(CONFIG, json.dumps(config))
    systemd.ctl("reload", "shardproxy.service")
    with closing(Wire(endpoint(config))) as first:
        assert first.ask("PING") == b"PONG"
        wait_until(lambda: is_refused(config), "the new limit counts")
    config["clusters"]["main"]["engine"] = "none"
    systemd.write(CONFIG, json.dumps(config))
    done = systemd.ctl("reload", "shardproxy.service", check=False)
    assert done.returncode != 0  # ExecReload checks the file first
    assert answer(config) == b"PONG"
    assert systemd.show("MainPID") == process
    systemd.ctl("stop", "shardproxy.service")
    assert (systemd.show("Result"), systemd.show("ExecMainStatus")) == ("success", "0")


def is_refused(config: dict[str, Any]) -> bool:
    try:
        return answer(config) != b"PONG"
    except Exception:  # noqa: BLE001  # closed, or told so: either is no PONG
        return True


def test_one_that_hangs_is_replaced(systemd: Systemd, config: dict[str, Any]) -> None:
    systemd.write(DROP_IN.format("service"), "[Service]\nWatchdogSec=5\nTimeoutAbortSec=1\n")
    systemd.ctl("daemon-reload")
    systemd.ctl("start", "shardproxy.service")
    process = systemd.show("MainPID")
    systemd.run("kill", "-STOP", process)
    wait_until(lambda: int(systemd.show("NRestarts")) > 0, "the watchdog bit", timeout=60)
    wait_until(lambda: systemd.show("ActiveState") == "active", "it runs again", timeout=60)
    assert systemd.show("MainPID") != process
    assert answer(config) == b"PONG"


def test_nobody_is_refused_while_it_is_restarted(systemd: Systemd, config: dict[str, Any]) -> None:
    addresses = f"ListenStream=\nListenStream={config['admin']}\nListenStream={endpoint(config)}\n"
    systemd.write(DROP_IN.format("socket"), f"[Socket]\n{addresses}")
    systemd.ctl("daemon-reload")
    systemd.ctl("start", "shardproxy.socket")
    assert systemd.show("ActiveState") == "inactive"
    assert answer(config) == b"PONG"  # the connection starts it
    systemd.ctl("stop", "shardproxy.service")
    with closing(Wire(endpoint(config), START)) as between:
        between.send_command("PING")
        systemd.ctl("start", "shardproxy.service")
        assert between.reply() == b"PONG"


def test_it_may_do_little(systemd: Systemd) -> None:
    done = systemd.run(
        "systemd-analyze",
        "security",
        "--no-pager",
        f"--threshold={MOST_EXPOSED}",
        "shardproxy.service",
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_units_are_well_formed(systemd: Systemd) -> None:
    done = systemd.run("systemd-analyze", "verify", "shardproxy.service", "shardproxy.socket", check=False)
    said = [line for line in done.stderr.splitlines() if "shardproxy" in line]
    assert not said, done.stderr
