"""What is under deploy/: a real API server takes it; its rights are enough, and no more; pods get proxies."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from ruamel.yaml import YAML

from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.kubernetes import KubernetesStore
from shardproxy.store.member import Member
from shardproxy.store.notes import NoteKey, NoteKind
from tests.fixtures.charts import KUSTOMIZE, OWN_SHARDS, VALUES, Helm, HelmError, Object, kustomized
from tests.fixtures.kubernetes import ADMIN, Kubernetes

KUSTOMIZATIONS = ["base", "overlays/production", "overlays/sidecar"]
PAUSED = NoteKey("sessions", NoteKind.PAUSED)
PATHS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Service": "/api/v1/namespaces/{}/services",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "MutatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies",
    "MutatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings",
}
OPERATOR = "monitoring.coreos.com/v1"  # of Prometheus' operator: an API server alone does not know it


def documents(path: Path) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(path.read_text()))


def taken(kubernetes: Kubernetes, namespace: str, objects: list[Object], query: str = "") -> None:
    """Every object of it is, with every field known and of a value that is allowed."""
    for one in objects:
        one["metadata"].pop("namespace", None)  # of an overlay
        for subject in one.get("subjects", ()):
            subject["namespace"] = namespace
        collection = PATHS[one["kind"]].format(namespace)
        status, answer = kubernetes.ask("POST", f"{collection}?fieldValidation=Strict{query}", one)
        assert status == 201, f"{one['kind']} {one['metadata']['name']}: {answer.get('message')}"


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_the_server_takes_a_kustomization(kubernetes: Kubernetes, name: str) -> None:
    taken(kubernetes, kubernetes.namespace(), kustomized(KUSTOMIZE / name), "&dryRun=All")


@pytest.mark.parametrize("values", VALUES)
def test_the_server_takes_the_chart(kubernetes: Kubernetes, helm: Helm, values: str) -> None:
    objects = helm.objects(VALUES[values])
    rest = [one for one in objects if one["apiVersion"] != OPERATOR]
    taken(kubernetes, kubernetes.namespace(), rest, "&dryRun=All")


def test_no_node_that_may_serve_is_taken_away_by_helm(kubernetes: Kubernetes, helm: Helm) -> None:
    """What is there is asked of the server; without it, as by `helm template`, nothing is known."""
    namespace = kubernetes.namespace()
    server = [
        *("--dry-run=server", "--namespace", namespace, "--kube-apiserver", kubernetes.url),
        *("--kube-token", ADMIN, "--kube-ca-file", str(kubernetes.authority.ca)),
    ]

    def sets(values: str) -> list[Object]:
        objects = helm.objects(values, *server)
        return [one for one in objects if one["kind"] == "StatefulSet"]

    taken(kubernetes, namespace, sets("engines: {shards: 3, nodes: 3}"))
    assert len(sets("engines: {shards: 4, nodes: 4}")) == 4
    with pytest.raises(HelmError, match=r"shard-2 .*shardproxy drain.*engines\.removed\.shards: \[2\]"):
        sets("engines: {shards: 2, nodes: 3}")
    assert len(sets("engines: {shards: 2, nodes: 3, removed: {shards: [2]}}")) == 2
    with pytest.raises(HelmError, match=r"shard-1 "):
        sets("engines: {shards: 1, nodes: 3, removed: {shards: [2]}}")
    with pytest.raises(HelmError, match=r"node 2 of shard-0 .*engines\.removed\.nodes: \[2\]"):
        sets("engines: {shards: 3, nodes: 2}")
    assert len(sets("engines: {shards: 3, nodes: 2, removed: {nodes: [2]}}")) == 3
    with pytest.raises(HelmError, match="shard-0 "):
        sets(OWN_SHARDS)
    assert len(sets("fullnameOverride: another\nnameOverride: another\nengines: {shards: 1}")) == 1


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_kubectl_applies_a_kustomization(kubernetes: Kubernetes, name: str) -> None:
    namespace = kubernetes.namespace()
    overlay = kubernetes.directory / f"overlay-{namespace}"
    shutil.copytree(KUSTOMIZE, overlay)
    file = overlay / name / "kustomization.yaml"
    file.write_text(file.read_text().replace("namespace: cache\n", f"namespace: {namespace}\n"))
    options = [
        f"--server={kubernetes.url}",
        f"--certificate-authority={kubernetes.authority.ca}",
        f"--token={ADMIN}",
        f"--namespace={namespace}",
    ]
    done = subprocess.run(
        ["kubectl", *options, "apply", "--dry-run=server", "--validate=strict", "-k", str(overlay / name)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(kubernetes.directory)},
    )
    assert done.returncode == 0, done.stderr


def test_pods_with_the_label_get_a_proxy_from_the_server(kubernetes: Kubernetes, helm: Helm) -> None:
    """The policy of the chart is in force, and adds what the chart's own template adds."""
    namespace = kubernetes.namespace()
    values = "gateway: {enabled: false}\nsidecar: {enabled: true, inject: {enabled: true}}\n"
    objects = helm.objects(values, "--namespace", namespace)
    policies = [one for one in objects if one["kind"].startswith("MutatingAdmission")]
    taken(kubernetes, namespace, policies)
    labelled = {"name": "web", "labels": {"shardproxy/inject": "true"}}
    own = {"name": "first", "image": "example/first:1.0"}
    pods = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"

    def made(metadata: Object, **spec: Any) -> Object:
        containers = [{"name": "web", "image": "example/web:1.0"}]
        pod = {"metadata": metadata, "spec": {"containers": containers, **spec}}
        status, answer = kubernetes.ask("POST", pods, pod)
        assert status == 201, answer
        found: Object = answer["spec"]
        return found

    deadline = time.monotonic() + 30
    while not (first := made(labelled)).get("initContainers"):  # the server reads policies when it gets to it
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (proxy,) = first["initContainers"]
    assert (proxy["name"], proxy["restartPolicy"]) == ("shardproxy", "Always")
    assert proxy["securityContext"]["readOnlyRootFilesystem"] is True
    assert {one["name"] for one in proxy["volumeMounts"]} == {one["name"] for one in first["volumes"]}
    second = made(labelled, initContainers=[own], volumes=[{"name": "own", "emptyDir": {}}])
    assert [one["name"] for one in second["initContainers"]] == ["shardproxy", "first"]
    assert second["volumes"][0]["name"] == "own"
    has_one = made(labelled, initContainers=[{"name": "shardproxy", "image": "a", "restartPolicy": "Always"}])
    assert [one["image"] for one in has_one["initContainers"]] == ["a"]
    assert "initContainers" not in made({"name": "other"})


@pytest.fixture
def namespace(kubernetes: Kubernetes) -> str:
    """One in which the rights are given."""
    namespace = kubernetes.namespace()
    for document in documents(KUSTOMIZE / "base" / "rbac.yaml"):
        document = dict(document)
        for subject in document.get("subjects", ()):
            subject["namespace"] = namespace
        kubernetes.make(PATHS[document["kind"]].format(namespace), document)
    return namespace


@asynccontextmanager
async def opened(
    kubernetes: Kubernetes, namespace: str, account: str, directory: Path, *, follower: bool = False
) -> AsyncIterator[KubernetesStore]:
    token = directory / account
    token.write_text(kubernetes.token_of(namespace, account))
    store = KubernetesStore(
        kubernetes.settings(token, namespace=namespace),
        member=f"{account}-1",
        is_follower=follower,
        keep=None,
        directory=directory,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        await store.follow(["sessions"])
        yield store
        nursery.cancel_scope.cancel()


async def test_the_rights_are_enough(kubernetes: Kubernetes, namespace: str, tmp_path: Path) -> None:
    async with (
        opened(kubernetes, namespace, "shardproxy-member", tmp_path) as member,
        opened(kubernetes, namespace, "shardproxy-follower", tmp_path, follower=True) as follower,
    ):
        assert member.synced["sessions"]
        await member.announce(Member(member.member))
        leadership = await member.claim("sessions")
        await member.note(PAUSED, True)
        with trio.fail_after(5):
            while PAUSED not in follower.notes:
                await follower.notes.wait_changed(follower.notes.version)
            while not follower.synced["sessions"]:
                await follower.synced.wait_changed(follower.synced.version)
        await member.drop(PAUSED)
        await leadership.resign()
        await member.leave()
        assert member.statistics.request_failures == follower.statistics.request_failures == 0


async def test_a_follower_may_not_write(kubernetes: Kubernetes, namespace: str, tmp_path: Path) -> None:
    async with opened(kubernetes, namespace, "shardproxy-follower", tmp_path) as member:
        with pytest.raises(StoreUnavailableError, match=r"403.*rbac\.yaml"):
            await member.note(PAUSED, True)


@pytest.mark.parametrize("account", ["shardproxy-member", "shardproxy-follower"])
def test_the_rights_are_no_more_than_that(kubernetes: Kubernetes, namespace: str, account: str) -> None:
    token = kubernetes.token_of(namespace, account)
    other = kubernetes.namespace()
    for method, path in [
        ("GET", f"/api/v1/namespaces/{namespace}/secrets"),
        ("GET", f"/api/v1/namespaces/{namespace}/pods"),
        ("GET", f"/api/v1/namespaces/{other}/configmaps"),
        ("GET", "/api/v1/configmaps"),
        ("DELETE", f"/api/v1/namespaces/{namespace}/configmaps"),
        ("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"),
    ]:
        assert kubernetes.ask(method, path, token=token)[0] == 403, path
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    assert kubernetes.ask("GET", slices, token=token)[0] == 200


async def test_a_token_that_is_replaced_is_read_again(
    kubernetes: Kubernetes, namespace: str, tmp_path: Path
) -> None:
    async with opened(kubernetes, namespace, "shardproxy-member", tmp_path) as member:
        token = tmp_path / "shardproxy-member"
        good = token.read_text()
        token.write_text("no token of anybody's")
        with pytest.raises(StoreUnavailableError, match="401"):
            await member.note(PAUSED, True)
        token.write_text(good)
        await member.note(PAUSED, True)
