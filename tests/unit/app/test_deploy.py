"""The files under deploy/ hold configs that load, and name what exists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from shardproxy.config import Config, load_config, parse_config

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
PAGES = {"/livez", "/readyz"}


def documents(file: str) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all((DEPLOY / file).read_text()))


def sidecar_config() -> Config:
    config_map, _ = documents("kubernetes/sidecar.yaml")
    return parse_config(config_map["data"]["shardproxy.yaml"])


def probes(container: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        yield container[kind]["httpGet"]


def test_the_sidecar_is_probed_where_it_answers() -> None:
    config = sidecar_config()
    pod = documents("kubernetes/sidecar.yaml")[1]["spec"]["template"]["spec"]
    (proxy,) = pod["initContainers"]
    assert {probe["path"] for probe in probes(proxy)} == PAGES
    ports = {port["name"]: port["containerPort"] for port in proxy["ports"]}
    assert {ports[probe["port"]] for probe in probes(proxy)} == {config.admin.port}
    assert pod["terminationGracePeriodSeconds"] > config.timeouts.drain
    (url,) = (entry["value"] for entry in pod["containers"][0]["env"])
    assert url == f"redis://{config.clusters['sessions'].endpoints.listed[0][1].addresses[0]}"


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
    pod = documents("kubernetes/sidecar.yaml")[1]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    rights = pod["initContainers"][0]["securityContext"]
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
    pod = documents("kubernetes/sidecar.yaml")[1]["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["initContainers"][0]["volumeMounts"]}
    assert Path(sidecar_config().state or "").parent == Path(mounts["state"])
    assert "StateDirectory=shardproxy\n" in (DEPLOY / "systemd/shardproxy.service").read_text()


def test_systemd_waits_for_the_drain() -> None:
    unit = (DEPLOY / "systemd/shardproxy.service").read_text()
    (seconds,) = (line.partition("=")[2] for line in unit.splitlines() if line.startswith("TimeoutStopSec="))
    assert int(seconds) > Config.model_fields["timeouts"].default.drain


def test_systemd_listens_where_the_config_does() -> None:
    unit = (DEPLOY / "systemd/shardproxy.socket").read_text()
    assert "Service=shardproxy.service\n" in unit
    assert f"ListenStream={Config.model_fields['admin'].default}\n" in unit
