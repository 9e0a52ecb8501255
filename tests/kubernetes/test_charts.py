"""The chart, rendered by a real helm: what it makes fits together, and its configs are right."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis
from ruamel.yaml import YAML

from shardproxy import __version__
from shardproxy.cli import main
from shardproxy.config import Config, parse_config
from shardproxy.config.admin import Loopback, Rights
from shardproxy.config.sizes import parse_size
from shardproxy.config.store import Membership
from shardproxy.doctor.machine_checks import OWN_MEMORY
from shardproxy.fleet import free_port
from tests.fixtures.charts import (
    CHART,
    KUBERNETES,
    NAMESPACE,
    ROOT,
    VALUES,
    Helm,
    HelmError,
    Object,
    definitions,
)

TOKENS = """
adminAccess:
  existingSecret: cache-admin
  tokens: [{name: prometheus, rights: read, key: prometheus}, {name: ops, rights: act, key: ops}]
"""
APPLICATION = Path(__file__).parent / "web"
DASHBOARDS = ROOT / "dashboards"


@pytest.fixture(scope="module", params=VALUES)
def objects(request: pytest.FixtureRequest, helm: Helm) -> list[Object]:
    return helm.objects(VALUES[request.param])


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def config_of(objects: list[Object], part: str) -> Config:
    (text,) = (
        one["data"]["shardproxy.yaml"]
        for one in of_kind(objects, "ConfigMap")
        if one["metadata"]["name"].endswith(part)
    )
    return parse_config(text)


def containers(objects: list[Object]) -> Iterator[Object]:
    for one in (*of_kind(objects, "Deployment"), *of_kind(objects, "StatefulSet")):
        pod = one["spec"]["template"]["spec"]
        yield from (*pod.get("initContainers", ()), *pod["containers"])


@pytest.mark.parametrize("values", VALUES)
def test_helm_finds_nothing_to_complain_of(helm: Helm, values: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(VALUES[values])
    helm.run("lint", "--strict", "--quiet", "--kube-version", KUBERNETES, CHART, "--values", file)


def test_configs_pass_the_check(
    objects: list[Object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = [one for one in of_kind(objects, "ConfigMap") if "shardproxy.yaml" in one["data"]]
    assert configs
    for one in configs:
        file = tmp_path / "shardproxy.yaml"
        file.write_text(one["data"]["shardproxy.yaml"])
        code = main(["check", str(file), "--state", str(tmp_path / "none.json")])
        err = capsys.readouterr().err
        assert "problem" not in err, err
        assert code == 0 or "none.json" in err


def test_names_are_one_objects_each(objects: list[Object]) -> None:
    names = [(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 63 for _, _, name in names)


def test_nothing_secret_is_in_it(objects: list[Object]) -> None:
    assert not of_kind(objects, "Secret")
    text = json.dumps(objects)
    assert '"sha256"' not in text
    for one in containers(objects):
        for entry in one.get("env", ()):
            assert "PASSWORD" not in entry["name"] or set(entry["valueFrom"]) == {"secretKeyRef"}


def test_containers_have_no_more_rights_than_they_need(objects: list[Object]) -> None:
    for one in containers(objects):
        rights = one["securityContext"]
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert rights["runAsNonRoot"] is rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "memory" in one["resources"]["limits"]
        assert "cpu" not in one["resources"]["limits"]


def test_buffers_are_less_than_the_memory_there_is(helm: Helm) -> None:
    objects = helm.objects("sidecar: {enabled: true, inject: {enabled: true}}")
    values = YAML(typ="safe").load((CHART / "values.yaml").read_text())
    for part, limit in (("-gateway", values["gateway"]), ("-sidecar", values["sidecar"])):
        memory = limit["resources"]["limits"]["memory"].replace("i", "ib").lower()
        assert config_of(objects, part).limits.buffers + OWN_MEMORY <= parse_size(memory)


def test_a_sidecar_is_not_given_what_applications_log_in_with(helm: Helm) -> None:
    text = helm.text("sidecar: {enabled: true, inject: {enabled: true}}\ngateway: {enabled: false}")
    assert "key: engines" in text.replace('dyn("engines")', "engines").replace('"key"', "key")
    assert "key: app" not in text.replace('dyn("app")', "app").replace('"key"', "key")


def test_what_is_selected_is_there(objects: list[Object]) -> None:
    pods = [
        one["spec"]["template"]["metadata"]["labels"] for one in objects if "template" in one.get("spec", {})
    ]
    for one in (*of_kind(objects, "Service"), *of_kind(objects, "PodDisruptionBudget")):
        selector = one["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        assert any(selector.items() <= labels.items() for labels in pods), one["metadata"]["name"]
    accounts = {one["metadata"]["name"] for one in of_kind(objects, "ServiceAccount")}
    for one in of_kind(objects, "Deployment"):
        assert one["spec"]["template"]["spec"]["serviceAccountName"] in accounts
    roles = {one["metadata"]["name"] for one in of_kind(objects, "Role")}
    for one in of_kind(objects, "RoleBinding"):
        assert one["roleRef"]["name"] in roles
        assert {subject["name"] for subject in one["subjects"]} <= accounts


def test_rights_are_those_of_the_manifests(objects: list[Object]) -> None:
    """Which a real API server and the store have shown to be enough."""
    documents = YAML(typ="safe").load_all((ROOT / "deploy/kubernetes/base/rbac.yaml").read_text())
    given = {one["metadata"]["name"]: one["rules"] for one in documents if one["kind"] == "Role"}
    for one in of_kind(objects, "Role"):
        assert one["rules"] == given[f"shardproxy-{one['metadata']['name'].rpartition('-')[2]}"]


def test_the_gateway_is_reached_probed_and_ends_in_time(helm: Helm) -> None:
    for values in ("default", "everything", "own shards"):
        objects = helm.objects(VALUES[values])
        config = config_of(objects, "-gateway")
        (deployment,) = of_kind(objects, "Deployment")
        pod = deployment["spec"]["template"]["spec"]
        (proxy,) = pod["containers"]
        ports = {one["name"]: one["containerPort"] for one in proxy["ports"]}
        for probe, page in (
            ("startupProbe", "/readyz"),
            ("readinessProbe", "/readyz"),
            ("livenessProbe", "/livez"),
        ):
            asked = proxy[probe]["httpGet"]
            assert (asked["path"], ports[asked["port"]]) == (page, config.admin.port)
        sleep = proxy["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["terminationGracePeriodSeconds"] >= sleep + config.timeouts.drain + 10
        listened = {
            address.port
            for cluster in config.clusters.values()
            for _, endpoint, _ in cluster.listened
            for address in endpoint.addresses
        }
        service = next(one for one in of_kind(objects, "Service") if one["spec"].get("type") == "ClusterIP")
        assert {ports[one["targetPort"]] for one in service["spec"]["ports"]} == listened
        (policy,) = (
            one
            for one in of_kind(objects, "NetworkPolicy")
            if one["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component") == "gateway"
        )
        opened = [entry["port"] for rule in policy["spec"]["ingress"] for entry in rule["ports"]]
        assert {ports[name] for name in opened} == {*listened, config.admin.port}
        if config.workers != "auto":
            assert str(config.workers) == proxy["resources"]["requests"]["cpu"]
        mounts = {one["mountPath"] for one in proxy["volumeMounts"]}
        assert {"/etc/shardproxy", str(Path(config.state or "").parent)} <= mounts


def test_the_config_lists_the_engines_and_no_others(helm: Helm) -> None:
    objects = helm.objects("engines: {shards: 3, nodes: 2, cluster: carts}\nsidecar: {enabled: true}\n")
    sets = of_kind(objects, "StatefulSet")
    pods = {
        f"{one['metadata']['name']}-{number}.{one['spec']['serviceName']}.{NAMESPACE}.svc:6379"
        for one in sets
        for number in range(one["spec"]["replicas"])
    }
    for part in ("-gateway", "-sidecar"):
        cluster = config_of(objects, part).clusters["carts"]
        assert {
            str(node.address) for shard in cluster.topology("carts").shards for node in shard.nodes
        } == pods
    services = {one["metadata"]["name"]: one["spec"] for one in of_kind(objects, "Service")}
    for one in sets:
        headless = services[one["spec"]["serviceName"]]
        assert headless["clusterIP"] == "None"
        assert headless["publishNotReadyAddresses"] is True


def test_gateway_and_sidecar_share_a_store(helm: Helm) -> None:
    objects = helm.objects("sidecar: {enabled: true}")
    gateway, sidecar = config_of(objects, "-gateway").store, config_of(objects, "-sidecar").store
    assert gateway is not None
    assert sidecar is not None
    assert gateway.kubernetes == sidecar.kubernetes
    assert (gateway.membership, sidecar.membership) == (Membership.MEMBER, Membership.FOLLOWER)


def test_a_new_config_is_a_new_pod_and_nothing_else_is(helm: Helm) -> None:
    def checksum(values: str) -> Any:
        (deployment,) = of_kind(helm.objects(values), "Deployment")
        return deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    first = checksum("")
    assert checksum("commonLabels: {team: shop}") == first
    assert checksum("config: {log: {level: debug}}") != first


def test_rules_and_dashboards_are_those_of_the_repository(helm: Helm) -> None:
    objects = helm.objects(VALUES["everything"])
    rules = {
        one["metadata"]["name"].rpartition("-")[2]: one["spec"] for one in of_kind(objects, "PrometheusRule")
    }
    for name in ("rules", "alerts"):
        assert rules[name] == YAML(typ="safe").load((DASHBOARDS / f"{name}.yaml").read_text())
    labelled = [
        one for one in of_kind(objects, "ConfigMap") if "grafana_dashboard" in one["metadata"]["labels"]
    ]
    texts = {name: text for one in labelled for name, text in one["data"].items()}
    assert texts == {file.name: file.read_text() for file in DASHBOARDS.glob("*.json")}


def test_prometheus_operator_knows_every_field(helm: Helm) -> None:
    """By the schemas of its own definitions, in which nothing else may be."""

    def closed(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        made = {
            name: closed(value) for name, value in part.items() if name != "pattern"
        }  # Go's, not Python's
        if "properties" in made and "additionalProperties" not in made:
            made["additionalProperties"] = False
        return made

    schemas = {
        one["spec"]["names"]["kind"]: closed(
            one["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        )
        for one in definitions()
    }
    objects = [one for one in helm.objects(VALUES["everything"]) if one["kind"] in schemas]
    assert {one["kind"] for one in objects} == set(schemas)
    for one in objects:
        jsonschema.validate(one["spec"], schemas[one["kind"]])


def test_a_package_has_what_the_links_lead_to(helm: Helm, tmp_path: Path) -> None:
    helm.run("package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.glob(f"shardproxy-{__version__}.tgz")
    shutil.unpack_archive(package, tmp_path, filter="data")
    packed = tmp_path / "shardproxy" / "files" / "dashboards" / "alerts.yaml"
    assert packed.read_text() == (DASHBOARDS / "alerts.yaml").read_text()


def test_the_version_is_one() -> None:
    chart = YAML(typ="safe").load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_every_value_is_in_the_schema_and_has_its_default(helm: Helm) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = YAML(typ="safe").load((CHART / "values.yaml").read_text())

    def compare(part: dict[str, Any], given: dict[str, Any], path: str) -> None:
        wanted = {name for name in part["properties"] if name != "global"}
        assert wanted == set(given), path
        for name, value in given.items():
            below = part["properties"][name]
            if "additionalProperties" in below and below["additionalProperties"] is False:
                compare(below, value, f"{path}.{name}")

    compare(schema, values, "")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("gateway: {replica: 3}", "replica"),
        ("engines: {shards: 0}", "engines"),
        ("engines: {settings: {requirepass: hunter2}}", "requirepass"),
        ("image: {digest: latest}", "digest"),
        ("engines: {enabled: false}", "list one under config.clusters"),
        ("adminAccess: {tokens: [{name: a, rights: read, key: a}]}", "adminAccess.existingSecret"),
        ("sidecar: {enabled: true}\nmonitoring: {podMonitor: {enabled: true}}", "monitoring.tokenKey"),
        (TOKENS + "monitoring: {serviceMonitor: {enabled: true}}", "name its key as monitoring.tokenKey"),
        (TOKENS + "monitoring: {tokenKey: other}", "has the key other"),
    ],
)
def test_mistakes_are_refused(helm: Helm, values: str, said: str) -> None:
    with pytest.raises(HelmError, match=said):
        helm.text(values)


def test_tokens_of_the_admin_api_are_files_and_sidecars_act_for_nobody(helm: Helm) -> None:
    objects = helm.objects(TOKENS + "sidecar: {enabled: true, inject: {enabled: true}}")
    gateway, sidecar = (config_of(objects, part).admin_access for part in ("-gateway", "-sidecar"))
    assert gateway is not None
    assert sidecar is not None
    assert (gateway.loopback, sidecar.loopback) == (Loopback.ACT, Loopback.READ)
    assert {one.name: (one.rights, one.file) for one in gateway.tokens} == {
        "prometheus": (Rights.READ, "/run/secrets/admin/prometheus"),
        "ops": (Rights.ACT, "/run/secrets/admin/ops"),
    }
    assert [one.name for one in sidecar.tokens] == ["prometheus"]
    (deployment,) = of_kind(objects, "Deployment")
    (volume,) = (
        one["secret"]
        for one in deployment["spec"]["template"]["spec"]["volumes"]
        if one.get("secret", {}).get("secretName") == "cache-admin"
    )
    assert {one["key"] for one in volume["items"]} == {"prometheus", "ops"}
    (policy,) = of_kind(objects, "MutatingAdmissionPolicy")
    added = policy["spec"]["mutations"][0]["jsonPatch"]["expression"].replace("dyn(", "").replace(")", "")
    assert '"items": [{"key": "prometheus", "path": "prometheus"}], "secretName": "cache-admin"' in added
    alone = helm.objects("sidecar: {enabled: true, inject: {enabled: true}}")
    access = config_of(alone, "-sidecar").admin_access
    assert access is not None
    assert (access.loopback, access.tokens) == (Loopback.READ, ())
    assert config_of(alone, "-gateway").admin_access is None
    assert "cache-admin" not in json.dumps(alone)


def test_prometheus_comes_with_its_token(helm: Helm) -> None:
    objects = helm.objects(VALUES["everything"])
    monitors = [*of_kind(objects, "ServiceMonitor"), *of_kind(objects, "PodMonitor")]
    endpoints = [
        one
        for monitor in monitors
        for name in ("endpoints", "podMetricsEndpoints")
        for one in monitor["spec"].get(name, ())
    ]
    assert len(endpoints) == 3
    for one in endpoints:
        assert one["authorization"] == {"credentials": {"name": "cache-admin", "key": "prometheus"}}


def test_only_prometheus_reaches_the_admin_port_of_sidecars_where_that_is_wanted(helm: Helm) -> None:
    def opened(objects: list[Object]) -> list[Object]:
        return [
            one for one in of_kind(objects, "NetworkPolicy") if one["metadata"]["name"].endswith("-sidecar")
        ]

    objects = helm.objects("sidecar: {enabled: true}\nnetworkPolicy: {sidecars: true}")
    (policy,) = opened(objects)
    others, admin = policy["spec"]["ingress"]
    port = config_of(objects, "-sidecar").admin.port
    tcp = [(one["port"], one["endPort"]) for one in others["ports"] if one["protocol"] == "TCP"]
    assert tcp == [(1, port - 1), (port + 1, 65535)]
    assert [one["port"] for one in admin["ports"]] == [port]
    assert admin["from"]
    assert not opened(helm.objects("sidecar: {enabled: true}"))


def test_engines_are_probed_as_those_of_the_manifests(helm: Helm) -> None:
    """Whose probe is run with real engines."""
    engine = YAML(typ="safe").load((ROOT / "deploy/kubernetes/base/engine.yaml").read_text())
    (given,) = engine["spec"]["template"]["spec"]["containers"]
    sets = of_kind(helm.objects(), "StatefulSet")
    for one in sets:
        (container,) = one["spec"]["template"]["spec"]["containers"]
        assert container["readinessProbe"] == given["readinessProbe"]
        assert one["spec"]["minReadySeconds"] > 0
    assert sets


def test_a_shard_outlives_an_upgrade_that_leaves_it_out(helm: Helm) -> None:
    objects = helm.objects()
    for kind in ("StatefulSet", "Service"):
        for one in of_kind(objects, kind):
            kept = one["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
            assert kept is ("-engine-" in one["metadata"]["name"])


def test_an_applications_chart_has_the_proxy_in_its_pods(helm: Helm, tmp_path: Path) -> None:
    chart = tmp_path / "web"
    shutil.copytree(APPLICATION, chart)
    shutil.copytree(CHART, chart / "charts" / "shardproxy")
    objects = helm.objects(chart=chart)
    (web,) = (one for one in of_kind(objects, "Deployment") if one["metadata"]["name"] == "web")
    pod = web["spec"]["template"]["spec"]
    (proxy,) = pod["initContainers"]
    assert proxy["restartPolicy"] == "Always"
    assert {one["name"] for one in proxy["volumeMounts"]} <= {one["name"] for one in pod["volumes"]}
    maps = {one["metadata"]["name"] for one in of_kind(objects, "ConfigMap")}
    assert {one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one} <= maps
    endpoint = config_of(objects, "-sidecar").clusters["sessions"].endpoints.listed[0][1].addresses[0]
    assert f"redis://{endpoint}" == pod["containers"][0]["env"][0]["value"]


def test_engines_start_as_they_are_told(helm: Helm, tmp_path: Path) -> None:
    """The command of a StatefulSet, run here: with a password that a shell would take apart."""
    settings = "{appendonly: 'yes', save: '900 1 300 10', repl-backlog-size: 268435456}"
    values = f"engines: {{maxmemory: 64mb, settings: {settings}}}"
    (container,) = itertools.islice(
        (one for one in containers(helm.objects(values)) if one["name"] == "redis"), 1
    )
    password, port = 'it\'s "$HOME" `id`', free_port()
    script = (
        container["args"][0]
        .replace("--port 6379", f"--port {port} --bind 127.0.0.1")
        .replace("/data", str(tmp_path))
    )
    process = subprocess.Popen(
        [*container["command"], script], env={"PASSWORD": password, "PATH": "/usr/bin:/bin"}, cwd=tmp_path
    )
    try:
        client = redis.Redis(port=port, password=password)
        deadline = time.monotonic() + 30
        while True:
            try:
                role = client.execute_command("ROLE")
                break
            except redis.ConnectionError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert role[0] == b"slave"  # of nobody: the proxy promotes one
        found = client.config_get("*")
        assert found["maxmemory"] == str(64 << 20)
        assert (found["appendonly"], found["save"]) == ("yes", "900 1 300 10")
        assert found["masterauth"] == password
        assert found["repl-backlog-size"] == str(256 << 20)  # helm has it as 2.68435456e+08
        client.close()
    finally:
        process.kill()
        process.wait()
