"""The children of a PoseCluster: golden files, invariants, and effects of the spec."""

from collections.abc import Iterator
from typing import Any

import pytest

from harness.full_spec import FULL_SPEC
from harness.golden import Golden
from harness.poseclusters import UID, posecluster
from harness.tolerations import CASES as TOLERATIONS
from harness.tolerations import expected
from posecluster_inference import settings as server
from posecluster_operator.builders import Inputs, desired_children, labels
from posecluster_operator.builders.deployment import check_image
from posecluster_operator.builders.environment import FIELDS
from posecluster_operator.errors import InvalidSpec
from posecluster_operator.resource.posecluster import PodDefaults

pytestmark = pytest.mark.unit

IMAGES = PodDefaults(
    image="posecluster-inference:0.1.0",
    allowed_labels=("example.com/team",),
    allowed_annotations=("example.com/*",),
)
CASES: dict[str, tuple[dict[str, Any], int, PodDefaults]] = {
    "default": ({}, 1, IMAGES),
    "everything": (FULL_SPEC, 3, IMAGES),
    "tokens": ({"auth": {"tokenSecretName": "demo-tokens"}}, 2, IMAGES),
    "big": (
        {"resources": {"requests": {"cpu": "8"}, "limits": {"cpu": "16", "memory": "16Gi"}}},
        500,
        PodDefaults(image="r.example/pose:1", pull_policy="Never", pull_secrets=("one", "two")),
    ),
    "fixed-zero": ({"replicas": 0, "scaling": {"mode": "Fixed"}}, 0, IMAGES),
}


def build(
    spec: dict[str, Any],
    replicas: int = 1,
    images: PodDefaults = IMAGES,
) -> dict[str, dict[str, Any]]:
    inputs = Inputs(cluster=posecluster(spec), replicas=replicas, images=images, version="0.1.0")
    return {f"{child['kind']}/{child['metadata']['name']}": child for child in desired_children(inputs)}


def template(spec: dict[str, Any], images: PodDefaults = IMAGES) -> dict[str, Any]:
    found: dict[str, Any] = build(spec, images=images)["Deployment/demo-pose"]["spec"]["template"]
    return found


def environment(spec: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in template(spec)["spec"]["containers"][0]["env"]}


@pytest.mark.parametrize("name", CASES)
def test_children_are_those_of_the_golden_file(name: str, golden: Golden) -> None:
    golden(name, list(build(*CASES[name]).values()))


# --- names, labels, owners ---


@pytest.mark.parametrize("name", CASES)
def test_every_child_has_its_owner_labels_and_namespace(name: str) -> None:
    spec, replicas, images = CASES[name]
    for child in build(spec, replicas, images).values():
        metadata = child["metadata"]
        assert metadata["namespace"] == "default"
        assert metadata["labels"] == labels.labels("demo", "0.1.0")
        [owner] = metadata["ownerReferences"]
        assert owner["uid"] == UID
        assert owner["controller"] is True
        assert "resourceVersion" not in metadata


def test_services_budget_and_deployment_select_the_pods() -> None:
    children = build({}, 2)
    pods = template({})["metadata"]["labels"]
    for name in ("Service/demo-pose", "Service/demo-pose-pods"):
        assert children[name]["spec"]["selector"].items() <= pods.items()
    for name in ("Deployment/demo-pose", "PodDisruptionBudget/demo-pose"):
        assert children[name]["spec"]["selector"]["matchLabels"].items() <= pods.items()
    assert labels.selector_text("demo") == (
        "app.kubernetes.io/component=inference,app.kubernetes.io/instance=demo,app.kubernetes.io/name=posecluster"
    )


@pytest.mark.parametrize(("replicas", "has_budget"), [(0, False), (1, False), (2, True), (500, True)])
def test_a_budget_exists_only_when_it_cannot_block_a_drain(replicas: int, has_budget: bool) -> None:
    assert ("PodDisruptionBudget/demo-pose" in build({}, replicas)) is has_budget


def test_fields_of_the_service_are_left_to_kubernetes_unless_they_are_set() -> None:
    optional = {
        "externalTrafficPolicy": "Local",
        "trafficDistribution": "PreferSameZone",
        "loadBalancerClass": "example.com/a",
    }
    plain, full = (
        build({"service": {"type": "LoadBalancer", **fields}})["Service/demo-pose"]["spec"]
        for fields in ({}, optional)
    )
    assert full == plain | optional


# --- settings of the server ---


def test_every_field_that_is_set_changes_its_setting() -> None:
    plain, full = environment({}), environment(FULL_SPEC)
    same = {name for name, value in plain.items() if full[name] == value}
    assert same == {server.PREFIX + name for name in ("PORT", "ADMIN_PORT", "MODEL_TASK")}
    assert full.keys() == {server.PREFIX + name for name in (*FIELDS, "PORT", "ADMIN_PORT")}
    assert full["POSECLUSTER_WORKERS"] == "3"
    assert full["POSECLUSTER_MODEL_VARIANT"] == "heavy"
    assert full["POSECLUSTER_DRAIN_DELAY_MS"] == "20000"
    assert full["POSECLUSTER_TRUSTED_PROXIES"] == "10.0.0.0/8,2001:db8::/32"
    assert full["POSECLUSTER_LOG_FORMAT"] == "json"


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, 15 + 5 + 60 + 10 + 5),
        ({"drainSeconds": 0}, 80),
        ({"limits": {"deadlineMilliseconds": 30_000}}, 115),
        ({"advanced": {"bodyTimeoutMilliseconds": 600_000}}, 635),
        ({"advanced": {"headerTimeoutMilliseconds": 1}}, 91),
    ],
)
def test_the_grace_period_follows_from_its_parts(spec: dict[str, Any], seconds: int) -> None:
    assert template(spec)["spec"]["terminationGracePeriodSeconds"] == seconds


def test_pods_listen_on_both_ip_families_without_telemetry() -> None:
    pod = template(FULL_SPEC)["spec"]
    assert "POSECLUSTER_HOST" not in environment(FULL_SPEC)
    assert {alias["ip"]: alias["hostnames"] for alias in pod["hostAliases"]} == {
        "127.0.0.1": ["play.googleapis.com"],
        "::1": ["play.googleapis.com"],
    }


def test_tokens_are_mounted_where_the_server_reads_them() -> None:
    pod = template({"auth": {"tokenSecretName": "mine"}})["spec"]
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    folder = environment({"auth": {"tokenSecretName": "mine"}})["POSECLUSTER_AUTH_TOKENS_DIR"]
    assert mounts["tokens"] == {"name": "tokens", "mountPath": folder, "readOnly": True}
    assert {"name": "tokens", "secret": {"secretName": "mine", "defaultMode": 0o444}} in pod["volumes"]
    assert "tokens" not in str(template({}))


# --- images ---


def test_images_in_the_spec_override_the_operators_image_settings() -> None:
    images = PodDefaults(image="ours:1", pull_policy="Never", pull_secrets=("ours",))
    mine = {"image": "mine:2", "imagePullPolicy": "Always", "imagePullSecrets": [{"name": "mine"}]}
    for spec, image, policy, secret in (({}, "ours:1", "Never", "ours"), (mine, "mine:2", "Always", "mine")):
        pod = template(spec, images)["spec"]
        assert pod["containers"][0]["image"] == image
        assert pod["containers"][0]["imagePullPolicy"] == policy
        assert pod["imagePullSecrets"] == [{"name": secret}]


def test_no_image_anywhere_is_an_invalid_spec_that_says_what_to_do() -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.image is unset: .*POSECLUSTER_OPERATOR_INFERENCE_IMAGE"):
        check_image(posecluster().spec, PodDefaults())
    with pytest.raises(InvalidSpec):
        build({}, images=PodDefaults(image=""))


# --- revisions ---


def test_only_changes_to_pods_change_the_template_hash() -> None:
    def revision(spec: dict[str, Any], version: str = "0.1.0", replicas: int = 1) -> str:
        inputs = Inputs(cluster=posecluster(spec), replicas=replicas, images=IMAGES, version=version)
        metadata = desired_children(inputs)[2]["spec"]["template"]["metadata"]
        return str(metadata["annotations"][labels.TEMPLATE_HASH])

    first = revision({})
    assert len(first) == 10
    assert revision({}, version="9.9.9", replicas=7) == first
    assert revision({"service": {"port": 81}, "replicas": 4, "scaling": {"maxReplicas": 20}}) == first
    changed = {
        revision(spec)
        for spec in (
            {"image": "x:2"},
            {"drainSeconds": 1},
            {"nodeSelector": {"a": "b"}},
            {"podLabels": {"example.com/team": "a"}},
            {"podAnnotations": {"example.com/a": "a"}},
            {"podAnnotations": {"example.com/a": "b"}},
        )
    }
    assert len(changed | {first}) == 7


def test_pods_have_only_the_user_and_group_ids_of_the_operators_settings() -> None:
    ids = {"runAsUser": 1_000_690_000, "runAsGroup": 0}
    plain, own = (
        template({}, images=PodDefaults(image="x", ids=given))["spec"]["securityContext"]
        for given in ({}, ids)
    )
    assert plain == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert own == plain | ids


def test_builders_do_not_modify_the_spec() -> None:
    constraint = {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "ScheduleAnyway"}
    term = {"topologyKey": "rack"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    build({"topologySpreadConstraints": [constraint], "affinity": affinity})
    assert "labelSelector" not in constraint
    assert "labelSelector" not in term


# --- Pod Security `restricted` (the API server's own check is in tests/apiserver) ---


def violations(pod: dict[str, Any]) -> Iterator[str]:
    """What https://kubernetes.io/docs/concepts/security/pod-security-standards/ would refuse."""
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    yield from (
        str(volume) for volume in pod["volumes"] if not volume.keys() - {"name"} <= {"emptyDir", "secret"}
    )
    shared = pod.get("securityContext", {})
    if shared.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccompProfile"
    for container in pod["containers"] + pod.get("initContainers", []):
        own = container.get("securityContext", {})
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            yield "privileges"
        if own.get("capabilities", {}).get("drop") != ["ALL"] or "add" in own["capabilities"]:
            yield "capabilities"
        if {**shared, **own}.get("runAsNonRoot") is not True or {**shared, **own}.get("runAsUser") == 0:
            yield "root"
        if any("hostPort" in port for port in container["ports"]):
            yield "hostPort"


@pytest.mark.parametrize("name", CASES)
def test_pods_are_restricted_and_can_write_only_to_tmp(name: str) -> None:
    pod = template(CASES[name][0])["spec"]
    assert list(violations(pod)) == []
    [container] = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == [
        "/tmp"
    ]
    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod


@pytest.mark.control
def test_the_checker_finds_a_pod_that_is_not_restricted() -> None:
    pod = template({})["spec"]
    pod["containers"][0]["securityContext"] = {"capabilities": {"drop": []}}
    pod["securityContext"] = {}
    pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    assert len(list(violations(pod))) == 5


def test_spans_go_where_the_operator_s_setting_says() -> None:
    def variables(defaults: PodDefaults) -> dict[str, str]:
        (container,) = template({}, images=defaults)["spec"]["containers"]
        return {item["name"]: item["value"] for item in container["env"]}

    endpoint = "http://collector.observability:4318"
    given = variables(PodDefaults(image="x", otlp_endpoint=endpoint))
    assert given["OTEL_EXPORTER_OTLP_ENDPOINT"] == endpoint
    assert not any(name.startswith("OTEL_") for name in variables(PodDefaults(image="x")))


@pytest.mark.parametrize("name", TOLERATIONS)
def test_pods_leave_a_failed_node_after_30_seconds_unless_the_user_says_otherwise(name: str) -> None:
    theirs, added = TOLERATIONS[name]
    assert template({"tolerations": theirs})["spec"]["tolerations"] == expected(theirs, added)
