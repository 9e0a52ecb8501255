"""Manifests under deploy/kubernetes: a real API server takes them; their rights are enough, and no more."""

from __future__ import annotations

import shutil
import subprocess
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
from tests.fixtures.kubernetes import ADMIN, Kubernetes

DEPLOY = Path(__file__).parents[2] / "deploy" / "kubernetes"
MANIFESTS = sorted(DEPLOY.glob("*.yaml"))
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
}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(path.read_text()))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_the_server_takes_a_manifest(kubernetes: Kubernetes, path: Path) -> None:
    """Every field of it is known, and has a value that is allowed."""
    namespace = kubernetes.namespace()
    for document in documents(path):
        collection = PATHS[document["kind"]].format(namespace)
        status, answer = kubernetes.ask("POST", f"{collection}?dryRun=All&fieldValidation=Strict", document)
        assert status == 201, (document["kind"], answer)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_kubectl_applies_a_manifest(kubernetes: Kubernetes, path: Path) -> None:
    options = [
        f"--server={kubernetes.url}",
        f"--certificate-authority={kubernetes.authority.ca}",
        f"--token={ADMIN}",
        f"--namespace={kubernetes.namespace()}",
    ]
    done = subprocess.run(
        ["kubectl", *options, "apply", "--dry-run=server", "--validate=strict", "-f", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(kubernetes.directory)},
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def namespace(kubernetes: Kubernetes) -> str:
    """One in which the rights are given."""
    namespace = kubernetes.namespace()
    for document in documents(DEPLOY / "rbac.yaml"):
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
