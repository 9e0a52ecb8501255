"""The files under deploy/ hold configs that load, and name what exists."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from shardproxy.config import Config, load_config
from shardproxy.config.sizes import parse_size
from shardproxy.config.store import Membership
from shardproxy.doctor.machine_checks import OWN_MEMORY

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
PAGES = {"/livez", "/readyz"}


def documents(file: str) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all((DEPLOY / file).read_text()))


def sidecar_config() -> Config:
    return load_config(DEPLOY / "kubernetes/components/sidecar/shardproxy.yaml")


def gateway_config() -> Config:
    return load_config(DEPLOY / "kubernetes/base/shardproxy.yaml")


def sidecar_pod() -> dict[str, Any]:
    """What the component adds to the pods of an application."""
    (deployment,) = documents("kubernetes/components/sidecar/container.yaml")
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod


def application_pod() -> dict[str, Any]:
    (deployment,) = documents("kubernetes/overlays/sidecar/web.yaml")
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod


def probes(container: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        yield container[kind]["httpGet"]


def test_the_sidecar_is_probed_where_it_answers() -> None:
    config = sidecar_config()
    (proxy,) = sidecar_pod()["initContainers"]
    pod = application_pod()
    assert {probe["path"] for probe in probes(proxy)} == PAGES
    ports = {port["name"]: port["containerPort"] for port in proxy["ports"]}
    assert {ports[probe["port"]] for probe in probes(proxy)} == {config.admin.port}
    assert pod["terminationGracePeriodSeconds"] > config.timeouts.drain
    (url,) = (entry["value"] for entry in pod["containers"][0]["env"])
    assert url == f"redis://{config.clusters['sessions'].endpoints.listed[0][1].addresses[0]}"


def test_the_gateway_is_probed_where_it_answers_and_ends_in_time() -> None:
    deployment, service, budget = documents("kubernetes/base/gateway.yaml")
    config = gateway_config()
    pod = deployment["spec"]["template"]["spec"]
    (proxy,) = pod["containers"]
    assert {probe["path"] for probe in probes(proxy)} == PAGES
    ports = {port["name"]: port["containerPort"] for port in proxy["ports"]}
    assert {ports[probe["port"]] for probe in probes(proxy)} == {config.admin.port}
    memory = proxy["resources"]["limits"]["memory"].replace("i", "ib").lower()
    assert config.limits.buffers + OWN_MEMORY <= parse_size(memory)
    sleep = proxy["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > sleep + config.timeouts.drain
    assert service["spec"]["selector"] == budget["spec"]["selector"]["matchLabels"]
    endpoint = config.clusters["sessions"].endpoints.listed[0][1].addresses[0]
    assert {ports[port["targetPort"]] for port in service["spec"]["ports"]} == {endpoint.port}


def test_sidecar_and_gateway_share_a_store_and_name_the_same_engines() -> None:
    gateway, sidecar = gateway_config(), sidecar_config()
    assert gateway.store is not None
    assert sidecar.store is not None
    assert gateway.store.kubernetes == sidecar.store.kubernetes
    assert sidecar.store.membership is Membership.FOLLOWER
    nodes = {
        f"{node.address}"
        for config in (gateway, sidecar)
        for topology in config.topologies()
        for node in topology.nodes
    }
    sets = [one for one in documents("kubernetes/base/engines.yaml") if one["kind"] == "StatefulSet"]
    assert nodes == {
        f"{one['metadata']['name']}-{number}.{one['spec']['serviceName']}:6379"
        for one in sets
        for number in range(one["spec"]["replicas"])
    }


def test_compose_serves_the_nodes_it_starts() -> None:
    config = load_config(DEPLOY / "docker" / "shardproxy.yaml")
    (compose,) = documents("docker/compose.yaml")
    nodes = {node.address.host for topology in config.topologies() for node in topology.nodes}
    assert nodes == set(compose["services"]) - {"proxy"}
    proxy = compose["services"]["proxy"]
    assert (DEPLOY / "docker" / proxy["build"]["context"] / proxy["build"]["dockerfile"]).exists()
    assert int(proxy["stop_grace_period"].removesuffix("s")) > config.timeouts.drain
    published = {int(port.rpartition(":")[2]) for port in proxy["ports"]}
    assert published == {7000, config.admin.port}


@pytest.mark.parametrize("line", ["COPY pyproject.toml", "COPY shardproxy"])
def test_the_image_is_built_from_files_that_exist(line: str) -> None:
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text()
    (copied,) = (found for found in dockerfile.splitlines() if found.startswith(line))
    for name in copied.split()[1:-1]:
        assert (ROOT / name).exists(), name


def test_containers_have_no_more_rights_than_they_need() -> None:
    (compose,) = documents("docker/compose.yaml")
    proxy = compose["services"]["proxy"]
    assert proxy["read_only"] is True
    assert proxy["cap_drop"] == ["ALL"]
    assert application_pod()["serviceAccountName"] == "shardproxy-follower"
    rights = sidecar_pod()["initContainers"][0]["securityContext"]
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert rights["runAsNonRoot"]
    assert rights["readOnlyRootFilesystem"]
    assert not rights["allowPrivilegeEscalation"]
    dockerfile = (DEPLOY / "docker/Dockerfile").read_text()
    assert f"USER {rights['runAsUser']}:{rights['runAsGroup']}\n" in dockerfile


def test_state_is_kept_where_it_may_be_written() -> None:
    (compose,) = documents("docker/compose.yaml")
    dockerfile = (DEPLOY / "docker/Dockerfile").read_text()
    (volume,) = (
        v for v in compose["services"]["proxy"]["volumes"] if v.partition(":")[0] in compose["volumes"]
    )
    directory = volume.partition(":")[2]
    assert f"STATE_DIRECTORY={directory}" in dockerfile
    proxy = sidecar_pod()["initContainers"][0]
    mounts = {mount["name"]: mount["mountPath"] for mount in proxy["volumeMounts"]}
    assert Path(sidecar_config().state or "").parent == Path(mounts["shardproxy-state"])
    assert "StateDirectory=shardproxy\n" in (DEPLOY / "systemd/shardproxy.service").read_text()


def test_systemd_waits_for_the_drain() -> None:
    unit = (DEPLOY / "systemd/shardproxy.service").read_text()
    (seconds,) = (line.partition("=")[2] for line in unit.splitlines() if line.startswith("TimeoutStopSec="))
    assert int(seconds) > Config.model_fields["timeouts"].default.drain


def test_systemd_listens_where_the_config_does() -> None:
    unit = (DEPLOY / "systemd/shardproxy.socket").read_text()
    assert "Service=shardproxy.service\n" in unit
    assert f"ListenStream={Config.model_fields['admin'].default}\n" in unit


def stages() -> list[list[str]]:
    """The instructions of the Dockerfile, whole, by stage."""
    text = (DEPLOY / "docker/Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("FROM "):
            found.append([])
        found[-1].append(line)
    return found


def test_the_image_has_neither_shell_nor_root() -> None:
    *_, last = stages()
    assert not [
        line for line in last if line.startswith(("RUN", "HEALTHCHECK", "ADD"))
    ]  # nothing could run it
    assert [line for line in last if line.startswith("USER")] == ["USER 10001:10001"]
    for line in last:
        if line.startswith(("ENTRYPOINT", "CMD")):
            assert "[" in line, "without a shell a command is a list"


def test_what_the_image_copies_is_not_ignored() -> None:
    ignored = (DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    for line in (
        line for stage in stages() for line in stage if line.startswith("COPY") and "--from" not in line
    ):
        for name in line.split()[1:-1]:
            assert (ROOT / name).exists(), name
            assert name in kept


def test_the_command_of_the_image_is_the_command() -> None:
    command = DEPLOY / "docker/shardproxy"
    assert command.stat().st_mode & 0o111 == 0o111
    done = subprocess.run(
        [sys.executable, command, "version"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout.startswith("shardproxy ")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not here")
def test_a_debian_package_has_everything_at_its_place(tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(
        ROOT / "shardproxy",
        site / "shardproxy",
        ignore=shutil.ignore_patterns("dataplane", "__pycache__"),  # large: to pack it takes its time
    )
    done = subprocess.run(
        [ROOT / ".ci/deb", site, sys.executable, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    package, root = done.stdout.strip(), tmp_path / "root"
    subprocess.run(["dpkg-deb", "-R", package, root], check=True)
    for name in (
        *("usr/lib/systemd/system/shardproxy.socket", "usr/lib/sysusers.d/shardproxy.conf"),
        *("usr/lib/tmpfiles.d/shardproxy.conf", "usr/share/man/man1/shardproxy.1.gz", "DEBIAN/postinst"),
        *(
            "usr/share/bash-completion/completions/shardproxy",
            "usr/share/doc/shardproxy/examples/cluster.yaml",
        ),
    ):
        assert (root / name).is_file(), name
    assert not list((root / "etc/shardproxy").iterdir())
    packed, own = (
        [line for line in file.read_text().splitlines() if not line.startswith("#")]
        for file in (
            root / "usr/lib/systemd/system/shardproxy.service",
            DEPLOY / "systemd/shardproxy.service",
        )
    )
    # what runs under a real systemd in other tests is what is packed
    assert packed == [line.replace("/opt/shardproxy/bin/", "/usr/bin/") for line in own]
    command = (root / "usr/bin/shardproxy").read_text()
    assert "PYTHONPATH=/usr/lib/shardproxy" in command
    assert (root / "usr/lib/shardproxy/shardproxy/cli/run.py").is_file()


def test_a_reload_checks_the_config_and_then_has_it_read_whatever_systemd_it_is() -> None:
    """Debian 12's knows no notify-reload, and takes a service with it for one without notices."""
    unit = (DEPLOY / "systemd/shardproxy.service").read_text().splitlines()
    assert "Type=notify" in unit
    check, signal = (line.partition("=")[2] for line in unit if line.startswith("ExecReload="))
    assert " check " in check
    assert signal == "/bin/kill -HUP $MAINPID"


@pytest.mark.skipif(
    shutil.which("systemd-tmpfiles") is None or os.geteuid() != 0, reason="it takes root and systemd-tmpfiles"
)
def test_the_proxy_may_read_what_stands_below_its_configs_and_others_may_not(tmp_path: Path) -> None:
    configs, rules = tmp_path / "etc/shardproxy", tmp_path / "usr/lib/tmpfiles.d"
    (configs / "tls").mkdir(parents=True)
    rules.mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nshardproxy:x:977:\n")
    for file, mode in ((configs / "shardproxy.yaml", 0o644), (configs / "tls/key.pem", 0o600)):
        file.touch(mode)
    (configs / "tls").chmod(0o700)
    shutil.copy(DEPLOY / "debian/shardproxy.tmpfiles", rules / "shardproxy.conf")
    subprocess.run(["systemd-tmpfiles", f"--root={tmp_path}", "--create", "shardproxy.conf"], check=True)
    found = {
        one.name: (stat.S_IMODE(one.stat().st_mode), one.stat().st_uid, one.stat().st_gid)
        for one in configs.rglob("*")
    }
    assert found == {
        "shardproxy.yaml": (0o640, 0, 977),
        "tls": (0o750, 0, 977),
        "key.pem": (0o640, 0, 977),
    }


def test_image_and_package_have_what_sources_and_spans_take() -> None:
    for file in (DEPLOY / "docker/Dockerfile", ROOT / "Makefile"):
        assert "[caching,otel]" in file.read_text(), file


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")
def test_make_can_read_its_rules() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--directory", ROOT, "help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
