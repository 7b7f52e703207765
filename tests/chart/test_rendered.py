"""What the chart renders: exact rights in both modes, restricted pods, the operator's settings, labels."""

import re
from collections.abc import Sequence
from dataclasses import fields

import pytest

from harness import chart
from harness.chart import Json, of_kind, one_of, pod_templates, render
from harness.kubernetes import rights
from harness.pod_security import hardened
from harness.tolerations import CASES as TOLERATIONS
from harness.tolerations import expected
from posecluster_operator.errors import InvalidSetting
from posecluster_operator.kube.permissions import LEASE, WATCHED
from posecluster_operator.settings import PREFIX, Settings, load, unknown_variables

PARTS = ("podMonitor", "prometheusRule", "grafanaDashboard", "networkPolicy")
EVERYTHING: Json = {
    "commonLabels": {"team": "vision"},
    "operator": {
        "watchNodes": True,
        "image": {
            "repository": "registry.example/op",
            "digest": f"sha256:{'a' * 64}",
            "pullSecrets": [{"name": "one"}],
        },
        "replicas": 2,
        "logFormat": "json",
        "allowedPodLabels": ["team", "example.com/*"],
        "allowedPodAnnotations": ["example.com/cost-centre"],
        "settings": {"resyncSeconds": 60, "leaseSeconds": 5},
        "podLabels": {"team": "other", "app.kubernetes.io/name": "forged"},
        "podAnnotations": {"example.test/a": "b"},
        "nodeSelector": {"pool": "cpu"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "serviceAccount": {"create": False, "name": "theirs"},
    },
    "inference": {
        "image": {
            "repository": "registry.example/pose",
            "tag": "7",
            "pullPolicy": "",
            "pullSecrets": [{"name": "a"}, {"name": "b"}],
        },
    },
    **{part: {"enabled": True} for part in PARTS},
}
VALUES: dict[str, Json] = {
    "defaults": {},
    "everything": EVERYTHING,
    "namespaced": {"operator": {"namespaces": ["one", "two"]}} | {part: {"enabled": True} for part in PARTS},
    "nobody": {"operator": {"replicas": 0}},
}
POLICY = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding"} | POLICY
OPTIONAL = {
    "podMonitor": {"PodMonitor"},
    "prometheusRule": {"PrometheusRule"},
    "grafanaDashboard": {"ConfigMap"},
    "networkPolicy": {"NetworkPolicy"},
}


def stripped(objects: Sequence[Json]) -> list[Json]:
    """Without labels, in one order."""
    bare = [
        one
        | {"metadata": {key: one["metadata"][key] for key in ("name", "namespace") if key in one["metadata"]}}
        for one in objects
    ]
    return sorted(bare, key=lambda one: (one["kind"], str(one["metadata"])))


def environment(objects: Sequence[Json]) -> dict[str, str]:
    """The operator's, without what Kubernetes fills in."""
    container = one_of(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def containers(objects: Sequence[Json]) -> list[Json]:
    return [one for template in pod_templates(objects) for one in template["spec"]["containers"]]


# --- rights ---


@pytest.mark.smoke
@pytest.mark.acceptance(21)
@pytest.mark.parametrize("watched", [(), ("one",), ("one", "two", "posecluster")], ids=len)
def test_rights_are_exactly_those_of_the_table(watched: tuple[str, ...]) -> None:
    expected = rights.manifests(namespace=chart.NAMESPACE, watched=watched)
    assert stripped(chart.rights(namespace=chart.NAMESPACE, watched=watched)) == stripped(expected)


@pytest.mark.acceptance(21)
@pytest.mark.control
def test_control_a_rule_too_few_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "WATCHED", WATCHED[1:])
    expected = rights.manifests(namespace=chart.NAMESPACE)
    assert stripped(chart.rights(namespace=chart.NAMESPACE)) != stripped(expected)


@pytest.mark.acceptance(21)
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_no_wildcard_anywhere_and_nothing_cluster_scoped_when_namespaced(values: Json) -> None:
    objects = render(values)
    rules = [rule for one in objects for rule in one.get("rules", ()) if "verbs" in rule]
    assert len(rules) >= len(WATCHED) + len(LEASE)
    assert not [rule for rule in rules if "*" in str(rule)]
    namespaced = bool(values.get("operator", {}).get("namespaces"))
    kinds = {one["kind"] for one in objects}
    assert kinds & CLUSTER_SCOPED == (set() if namespaced else CLUSTER_SCOPED)
    assert all("namespace" in one["metadata"] for one in objects if one["kind"] not in CLUSTER_SCOPED)


def test_nodes_can_be_listed_only_with_the_value() -> None:
    def roles(watched: bool) -> dict[str, Json]:
        objects = chart.rights(namespace="home", operator={"watchNodes": watched})
        return {one["metadata"]["name"]: one for one in objects if one["kind"] == "ClusterRole"}

    assert roles(True).keys() - roles(False).keys() == {f"{rights.NAME}-nodes"}
    rules = [rule for one in roles(True).values() for rule in one["rules"] if "nodes" in rule["resources"]]
    assert rules == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
    assert "nodes" not in str([one["rules"] for one in roles(False).values()])


def test_an_operator_of_some_namespaces_cannot_list_nodes() -> None:
    with pytest.raises(chart.ChartError, match=r"unset operator\.namespaces, or set operator\.watchNodes"):
        render({"operator": {"namespaces": ["one"], "watchNodes": True}})
    with pytest.raises(InvalidSetting, match="unset POSECLUSTER_OPERATOR_NAMESPACES"):
        load({f"{PREFIX}WATCH_NODES": "true", f"{PREFIX}NAMESPACES": "one"}, {})


def test_people_get_rights_on_poseclusters_by_the_cluster_s_own_roles() -> None:
    objects = render()
    roles = {
        role: one_of(objects, "ClusterRole", f"posecluster-operator-{role}") for role in ("view", "edit")
    }
    aggregated = {
        role: {
            label.rpartition("-")[2]
            for label in one["metadata"]["labels"]
            if label.startswith("rbac.authorization.k8s.io/aggregate-to-")
        }
        for role, one in roles.items()
    }
    assert aggregated == {"view": {"view", "edit", "admin"}, "edit": {"edit", "admin"}}
    verbs = {role: {verb for rule in one["rules"] for verb in rule["verbs"]} for role, one in roles.items()}
    assert verbs["view"] == {"get", "list", "watch"}
    assert {group for one in roles.values() for rule in one["rules"] for group in rule["apiGroups"]} == {
        "posecluster.io"
    }
    written = [rule["resources"] for rule in roles["edit"]["rules"]]
    assert sorted(written) == [["poseclusters"], ["poseclusters/scale"]]
    without = render({"rbac": {"aggregateRoles": False}})
    assert [one["metadata"]["name"] for one in of_kind(without, "ClusterRole")] == ["posecluster-operator"]


# --- pods (admission itself: tests/apiserver/test_pod_security.py) ---


@pytest.mark.acceptance(20)
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_every_pod_is_restricted_and_hardened(values: Json) -> None:
    templates = pod_templates(render(values))
    for template, name in zip(templates, ("operator", "test"), strict=True):
        pod = template["spec"]
        hardened(pod, name)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        (container,) = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


# --- the operator ---


def test_the_default_operator_has_the_names_of_the_contract() -> None:
    objects = render()
    deployment = one_of(objects, "Deployment")
    assert deployment["metadata"]["name"] == "posecluster-operator"
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert deployment["spec"]["template"]["metadata"]["labels"] == {
        "app.kubernetes.io/name": "posecluster-operator",
        "app.kubernetes.io/instance": "posecluster",
        "app.kubernetes.io/component": "operator",
        "app.kubernetes.io/part-of": "posecluster",
    }
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "posecluster-operator:0.1.0"
    assert [port["containerPort"] for port in container["ports"]] == [9091]
    probes = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("liveness", "readiness")}
    assert probes == {
        "liveness": {"path": "/livez", "port": "metrics"},
        "readiness": {"path": "/readyz", "port": "metrics"},
    }
    assert {"name": "POD_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}} in container["env"]
    assert not of_kind(
        objects, "PodDisruptionBudget", *(kind for kinds in OPTIONAL.values() for kind in kinds)
    )


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_operator_understands_its_environment(values: Json) -> None:
    variables = environment(render(values, namespace="home"))
    assert unknown_variables(variables) == []
    settings = load(variables, {})
    assert settings.lease_namespace == "home"
    assert settings.lease_name == "posecluster-operator"
    operator = values.get("operator", {})
    assert settings.watched_namespaces == tuple(operator.get("namespaces", ()))
    assert settings.log_format == operator.get("logFormat", "text")
    if values is EVERYTHING:
        assert (settings.resync_seconds, settings.lease_seconds) == (60, 5)
        assert settings.images.image == "registry.example/pose:7"
        assert settings.images.pull_policy is None
        assert settings.images.pull_secrets == ("a", "b")
        assert settings.images.allowed_labels == ("team", "example.com/*")
        assert settings.images.allowed_annotations == ("example.com/cost-centre",)
    else:
        assert settings.images.image == "posecluster-inference:0.1.0"
        assert str(settings.images.pull_policy) == "IfNotPresent"


def test_every_setting_of_the_operator_is_reachable_or_the_chart_s_own() -> None:
    schema = chart.schema()["properties"]["operator"]["properties"]["settings"]["properties"]
    named = {re.sub("([A-Z])", r"_\1", name).lower(): one for name, one in schema.items()}
    by_chart = {name.removeprefix(PREFIX).lower() for name in environment(render(VALUES["everything"]))}
    by_chart |= {
        "namespaces",
        "inference_image_pull_policy",
        "inference_otlp_endpoint",
    }  # empty here, and not rendered
    by_chart |= {"inference_run_as_user", "inference_run_as_group", "inference_fs_group"}
    fixed = {"host", "port", "identity"}
    assert named.keys() & fixed == set()
    assert named.keys() | by_chart | fixed == {item.name for item in fields(Settings)}
    bounds = {item.name: (item.metadata.get("low"), item.metadata.get("high")) for item in fields(Settings)}
    assert {name: (one["minimum"], one["maximum"]) for name, one in named.items()} == {
        name: bounds[name] for name in named
    }


def test_what_is_set_for_the_pods_is_there_and_replaces_nothing_of_ours() -> None:
    objects = render(EVERYTHING)
    deployment = one_of(objects, "Deployment")
    metadata, pod = (deployment["spec"]["template"][key] for key in ("metadata", "spec"))
    assert metadata["annotations"] == {"example.test/a": "b"}
    assert metadata["labels"]["team"] == "other"
    assert metadata["labels"].items() >= deployment["spec"]["selector"]["matchLabels"].items()
    assert metadata["labels"]["app.kubernetes.io/name"] == "posecluster-operator"
    assert pod["nodeSelector"] == {"pool": "cpu"}
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["affinity"] == {"nodeAffinity": {}}
    assert pod["priorityClassName"] == "high"
    assert pod["imagePullSecrets"] == [{"name": "one"}]
    assert pod["serviceAccountName"] == "theirs"
    assert {one["image"] for one in containers(objects)} == {f"registry.example/op@sha256:{'a' * 64}"}
    assert of_kind(objects, "ServiceAccount") == []
    subjects = [subject["name"] for one in objects for subject in one.get("subjects", ())]
    assert set(subjects) == {"theirs"}
    assert all(one["metadata"]["labels"]["team"] == "vision" for one in objects)


def test_pods_have_only_the_ids_that_are_set() -> None:
    objects = render({"operator": {"podSecurityContext": {"runAsUser": 1_000_690_000, "fsGroup": 0}}})
    plain = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    for template in pod_templates(objects):
        assert template["spec"]["securityContext"] == plain | {"runAsUser": 1_000_690_000, "fsGroup": 0}
    assert load(environment(objects), {}).images.ids == {}
    ids = {"runAsUser": 1_000_690_000, "runAsGroup": 0, "fsGroup": 7}
    objects = render({"inference": {"podSecurityContext": ids}})
    assert load(environment(objects), {}).images.ids == ids
    assert [template["spec"]["securityContext"] for template in pod_templates(objects)] == [plain, plain]


@pytest.mark.parametrize("name", TOLERATIONS)
def test_the_operator_leaves_a_failed_node_after_30_seconds_unless_the_user_says_otherwise(name: str) -> None:
    theirs, added = TOLERATIONS[name]
    pod = one_of(render({"operator": {"tolerations": theirs}}), "Deployment")["spec"]["template"]["spec"]
    assert pod.get("tolerations", []) == expected(theirs, added)
    assert "volumes" not in pod  # an emptyDir would need the annotation for cluster-autoscaler


def test_a_disruption_budget_keeps_one_of_two_operators() -> None:
    objects = render({"operator": {"replicas": 2}})
    deployment = one_of(objects, "Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 1}
    budget = one_of(objects, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == deployment["selector"]
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"] == deployment["selector"]


def test_helm_test_sees_pods_that_are_not_ready_and_counts_all() -> None:
    objects = render({"operator": {"replicas": 2}})
    assert one_of(objects, "Service")["spec"]["publishNotReadyAddresses"] is True
    pod = one_of(objects, "Pod")
    (container,) = pod["spec"]["containers"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert variables == {"OPERATOR": "posecluster-operator.posecluster.svc", "REPLICAS": "2"}
    # `helm test --logs` reads it after the end
    assert pod["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation"


# --- what is optional ---


@pytest.mark.parametrize("part", OPTIONAL)
def test_optional_parts_are_rendered_only_when_enabled(part: str) -> None:
    with_it, without = render({part: {"enabled": True}}), render()
    more = [one for one in with_it if one not in without]
    assert {one["kind"] for one in more} == OPTIONAL[part]


# --- the policy for the operator's account ---

_WATCHES_TWO: Json = {"operator": {"namespaces": ["one", "two"]}}
_HAS_PODS = ("--api-versions", "v1/Pod")  # as helm knows from an API server
_HAS_POLICIES = (
    *_HAS_PODS,
    "--api-versions",
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy",
)


@pytest.mark.parametrize(
    ("enabled", "values", "flags", "expected"),
    [
        ("auto", {}, (), True),
        ("auto", {}, ("--kube-version", "1.30.0"), True),
        ("auto", {}, ("--kube-version", "1.29.9"), False),
        ("auto", {}, _HAS_POLICIES, True),
        ("auto", {}, _HAS_PODS, False),
        ("auto", _WATCHES_TWO, _HAS_POLICIES, False),
        (True, _WATCHES_TWO, (), True),
        (False, {}, _HAS_POLICIES, False),
    ],
)
def test_the_policy_is_rendered_where_the_api_server_has_it(
    enabled: object, values: Json, flags: tuple[str, ...], expected: bool
) -> None:
    objects = render(values | {"admissionPolicy": {"enabled": enabled}}, flags=flags)
    assert {one["kind"] for one in objects} & POLICY == (POLICY if expected else set())


def test_the_policy_applies_to_the_account_that_the_rights_are_bound_to() -> None:
    values = {"operator": {"serviceAccount": {"create": False, "name": "theirs"}}, "fullnameOverride": "mine"}
    objects = render(values, namespace="home")
    policy, binding = (one_of(objects, kind) for kind in sorted(POLICY))
    assert policy["metadata"]["name"] == binding["spec"]["policyName"] == "mine.home"
    assert binding["spec"]["validationActions"] == ["Deny"]
    assert policy["spec"]["failurePolicy"] == "Fail"
    (condition,) = policy["spec"]["matchConditions"]
    assert condition["expression"] == "request.userInfo.username == 'system:serviceaccount:home:theirs'"


def test_the_policy_covers_every_kind_that_the_operator_may_write_but_its_own_status() -> None:
    rules = one_of(render(), "ValidatingAdmissionPolicy")["spec"]["matchConstraints"]["resourceRules"]
    covered = {(group, one) for rule in rules for group in rule["apiGroups"] for one in rule["resources"]}
    written = {
        (rule.group, rule.resource)
        for rule in (*WATCHED, *LEASE)
        if set(rule.verbs) - {"get", "list", "watch"}
    }
    assert written - covered == {("posecluster.io", "poseclusters/status")}
    assert covered <= written


@pytest.mark.parametrize("part", ["operator", "inference"])
def test_a_digest_pins_an_image_by_one_value_whatever_the_tag(part: str) -> None:
    digest = f"sha256:{'b' * 64}"
    objects = render({part: {"image": {"digest": digest, "tag": "7"}}})
    images = {
        "operator": containers(of_kind(objects, "Deployment"))[0]["image"],
        "inference": environment(objects)[f"{PREFIX}INFERENCE_IMAGE"],
    }
    assert images.pop(part) == f"posecluster-{part}@{digest}"
    assert "@" not in str(images)
