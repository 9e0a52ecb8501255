"""Kustomizations under deploy/kubernetes: what they add to each other fits."""

from __future__ import annotations

import pytest

from shardproxy.config import parse_config
from shardproxy.config.admin import Loopback
from shardproxy.config.sizes import parse_size
from tests.fixtures.charts import KUSTOMIZE, Object, kustomized


def of_kind(objects: list[Object], kind: str, name: str = "") -> list[Object]:
    return [one for one in objects if one["kind"] == kind and one["metadata"]["name"].startswith(name)]


def test_a_new_config_rolls_the_pods() -> None:
    objects = kustomized(KUSTOMIZE / "base")
    (made,) = of_kind(objects, "ConfigMap", "shardproxy-gateway-")
    (gateway,) = of_kind(objects, "Deployment")
    volumes = gateway["spec"]["template"]["spec"]["volumes"]
    assert [one["configMap"]["name"] for one in volumes if "configMap" in one] == [made["metadata"]["name"]]
    assert parse_config(made["data"]["shardproxy.yaml"]).store is not None


def test_an_application_gets_its_proxy_and_the_gateway_does_not() -> None:
    objects = kustomized(KUSTOMIZE / "overlays" / "sidecar")
    (web,) = of_kind(objects, "Deployment", "web")
    pod = web["spec"]["template"]["spec"]
    (proxy,) = pod["initContainers"]
    assert (proxy["name"], proxy["restartPolicy"]) == ("shardproxy", "Always")
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert {one["name"] for one in proxy["volumeMounts"]} == set(volumes)
    (made,) = of_kind(objects, "ConfigMap", "shardproxy-sidecar-")
    assert volumes["shardproxy-config"]["configMap"]["name"] == made["metadata"]["name"]
    (gateway,) = of_kind(objects, "Deployment", "shardproxy")
    assert "initContainers" not in gateway["spec"]["template"]["spec"]


def test_production_has_a_namespace_an_image_and_an_autoscaler() -> None:
    objects = kustomized(KUSTOMIZE / "overlays" / "production")
    assert {one["metadata"]["namespace"] for one in objects} == {"cache"}
    (gateway,) = of_kind(objects, "Deployment")
    assert "replicas" not in gateway["spec"]
    (container,) = gateway["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/shardproxy:0.1.0"
    (scaler,) = of_kind(objects, "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == gateway["metadata"]["name"]
    for policy in of_kind(objects, "NetworkPolicy"):
        selector = policy["spec"]["podSelector"]["matchLabels"]
        pods = [
            one["spec"]["template"]["metadata"]["labels"]
            for one in objects
            if "template" in one.get("spec", {})
        ]
        assert any(selector.items() <= labels.items() for labels in pods)


@pytest.mark.parametrize("name", ["base", "overlays/production", "overlays/sidecar"])
def test_engines_end_one_by_one_when_the_others_have_their_data(name: str) -> None:
    objects = kustomized(KUSTOMIZE / name)
    sets = of_kind(objects, "StatefulSet")
    budgets = [one["spec"] for one in of_kind(objects, "PodDisruptionBudget", "redis-")]
    assert len(sets) == 2
    assert [one["selector"] for one in budgets] == [one["spec"]["selector"] for one in sets]
    assert {one["maxUnavailable"] for one in budgets} == {1}
    for one in sets:
        assert one["spec"]["minReadySeconds"] > 0
        pod = one["spec"]["template"]["spec"]
        (engine,) = pod["containers"]
        assert "exec" in engine["readinessProbe"]
        memory = engine["args"][0].partition("--maxmemory ")[2].partition(" ")[0]
        limit = engine["resources"]["limits"]["memory"].replace("i", "ib").lower()
        assert parse_size(memory) <= 0.7 * parse_size(limit)
        rights = engine["securityContext"]
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert rights["runAsNonRoot"] is rights["readOnlyRootFilesystem"] is True
        assert pod["securityContext"]["fsGroup"] == rights["runAsGroup"]


def test_a_sidecar_acts_for_nobody_and_shows_its_pod_how_it_is() -> None:
    (made,) = of_kind(kustomized(KUSTOMIZE / "overlays" / "sidecar"), "ConfigMap", "shardproxy-sidecar-")
    access = parse_config(made["data"]["shardproxy.yaml"]).admin_access
    assert access is not None
    assert access.loopback is Loopback.READ
