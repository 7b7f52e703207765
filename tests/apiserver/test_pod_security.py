"""Check 20: every template, the chart's and the operator's, is admitted where `restricted` is enforced."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from harness import chart
from harness.kubernetes.api import Api, ApiError
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.waiting import Json, posecluster
from harness.pod_security import hardened
from harness.recorder import RecordFigure
from harness.server import ROOT

NAME, CHILD = "demo", "demo-pose"
LEVELS = ("enforce", "warn", "audit")

# what of a spec reaches the pods, each in a way of its own
SPECS: dict[str, Json] = {
    "defaults": {},
    "tokens": {"auth": {"tokenSecretName": "tokens"}},
    "node port": {"service": {"type": "NodePort", "port": 8443}},
    "placed": {
        "nodeSelector": {"example.test/pool": "cpu"},
        "tolerations": [{"operator": "Exists"}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2}
        ],
    },
    "large": {
        "workersPerPod": 64,
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": 64, "memory": "64Gi"}},
        "limits": {"deadlineMilliseconds": 3_600_000},
        "drainSeconds": 3_600,
    },
    "private image": {"imagePullPolicy": "Always", "imagePullSecrets": [{"name": "one"}, {"name": "two"}]},
}

# what of the chart's values reaches the API server, each in a way of its own
CHART_VALUES: dict[str, Json] = {
    "defaults": {},
    "all": {
        "operator": {"replicas": 2, "priorityClassName": "system-cluster-critical"},
        **{part: {"enabled": True} for part in ("grafanaDashboard", "networkPolicy")},
    },
    "ids": {"operator": {"podSecurityContext": {"runAsUser": 20_000, "runAsGroup": 0, "fsGroup": 0}}},
}
# kinds of which no plain cluster has the CRD
FOREIGN = {"PodMonitor", "PrometheusRule"}

Path = tuple[str | int, ...]
# settings without any one of which a pod is refused, and everywhere it is set
NEEDED: dict[str, list[Path]] = {
    "runAsNonRoot": [("securityContext",), ("containers", 0, "securityContext")],
    "seccompProfile": [("securityContext",)],
    "allowPrivilegeEscalation": [("containers", 0, "securityContext")],
    "capabilities": [("containers", 0, "securityContext")],
}


@pytest.fixture
def strict(api: Api, make_namespace: Callable[..., str]) -> str:
    """A namespace that enforces, warns and audits `restricted`, with the chart's ServiceAccounts.

    Most API servers admit a pod only if its ServiceAccount exists.
    """
    namespace = make_namespace(**{f"pod-security.kubernetes.io/{level}": "restricted" for level in LEVELS})
    for one in chart.render(namespace=namespace):
        if one["kind"] == "ServiceAccount":
            api.create(one)
    return namespace


def examples() -> dict[str, Json]:
    """Specs of the PoseClusters in examples/."""
    documents = [
        (path.name, document)
        for path in sorted((ROOT / "examples").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    return {name: one["spec"] for name, one in documents if one and one.get("kind") == "PoseCluster"}


def bare_pod(template: Json, namespace: str) -> Json:
    """A pod of this template."""
    metadata = {"name": "one", "namespace": namespace, "labels": template["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}


@pytest.mark.acceptance(20)
def test_every_template_is_admitted_without_a_warning(
    api: Api,
    strict: str,
    start_player: Callable[..., Player],
    start_operator: Callable[..., OperatorProcess],
    record_figure: RecordFigure,
) -> None:
    player = start_player(namespace=strict)
    start_operator(namespaces=(strict,), lease_namespace=strict, inference_image="example.test/pose:1")
    specs = SPECS | examples()
    clusters = {f"case-{index}": what for index, what in enumerate(specs)}
    for name, what in clusters.items():
        spec = {"scaling": {"mode": "Fixed"}} | specs[what] | {"image": "example.test/pose:1"}
        spec.pop("priorityClassName", None)  # one that the cluster has to have
        api.create(posecluster(name, strict, **spec))
    api.warnings.clear()
    for name, what in clusters.items():
        wait_rolled_out(api, strict, name, 40)
        deployment = api.get("deployments", strict, f"{name}-pose")
        applied = {key: deployment[key] for key in ("apiVersion", "kind", "spec")}
        metadata = {"name": f"again-{name}", "namespace": strict}
        api.create({**applied, "metadata": metadata}, dry_run=True)
        api.create(bare_pod(deployment["spec"]["template"], strict), dry_run=True)
        assert api.warnings == [], what
        for pod in player.ready_pods(strict, f"{name}-pose"):
            hardened(pod["spec"], "inference")
            assert pod["spec"]["automountServiceAccountToken"] is False
    record_figure(
        "templates admitted without a warning", len(clusters), bar="every one", sample=len(clusters)
    )


@pytest.mark.acceptance(20)
@pytest.mark.parametrize("values", CHART_VALUES.values(), ids=CHART_VALUES)
def test_the_whole_chart_is_applied_without_a_warning(api: Api, strict: str, values: Json) -> None:
    objects = [one for one in chart.render(values, namespace=strict) if one["kind"] not in FOREIGN]
    templates = chart.pod_templates(objects)
    api.warnings.clear()
    for one in objects:
        api.apply(one, force=True, dry_run=True)
    for template in templates:
        api.create(bare_pod(template, strict), dry_run=True)
    assert api.warnings == []
    assert [template["spec"]["containers"][0]["name"] for template in templates] == ["operator", "test"]


@pytest.mark.acceptance(20)
@pytest.mark.control
def test_a_pod_of_the_chart_that_lacks_one_setting_is_refused(api: Api, strict: str) -> None:
    for template in chart.pod_templates(chart.render(namespace=strict)):
        refused_without_one_setting(api, bare_pod(template, strict))


@pytest.mark.acceptance(20)
@pytest.mark.control
def test_a_pod_that_lacks_one_setting_is_refused(
    api: Api, strict: str, start_operator: Callable[..., OperatorProcess]
) -> None:
    start_operator(namespaces=(strict,), lease_namespace=strict)
    api.create(posecluster(NAME, strict))
    deployment = api.wait_until(lambda: api.find("deployments", strict, CHILD), 20, "a Deployment")
    whole = bare_pod(deployment["spec"]["template"], strict)
    refused_without_one_setting(api, whole)


def refused_without_one_setting(api: Api, whole: Json) -> None:
    """The pod is admitted unchanged, and not without any of the needed settings."""
    api.create(whole, dry_run=True)
    for setting, places in NEEDED.items():
        spoilt = copy.deepcopy(whole)
        for steps in places:
            place: Any = spoilt["spec"]
            for step in steps:
                place = place[step]
            del place[setting]
        with pytest.raises(ApiError, match='violates PodSecurity "restricted') as error:
            api.create(spoilt, dry_run=True)
        assert setting in str(error.value)
