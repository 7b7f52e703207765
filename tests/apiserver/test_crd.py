"""What the CRD offers to people and tools: explanations, columns, scale, defaults, shared ownership."""

import copy
import json
import random

import pytest
import yaml

from harness import crd
from harness.kubernetes.api import Api, ApiError
from harness.kubernetes.resources import BY_PLURAL
from harness.recorder import RecordFigure
from harness.server import ROOT
from harness.spec_cases import Json, body
from harness.spec_generator import SpecGenerator
from posecluster_operator.resource.parsing import parse

OPERATOR = "posecluster-operator"
OBJECTS = 200
STATUS: Json = {
    "observedGeneration": 1,
    "replicas": 2,
    "readyReplicas": 1,
    "desiredReplicas": 3,
    "selector": "app.kubernetes.io/instance=pose",
    "endpoint": "http://pose-pose.team.svc",
    "load": {
        "queued": 4,
        "running": 2,
        "requestsPerSecond": 17,
        "lateRequestsPermille": 5,
        "scrapedPods": 1,
    },
    "lastScaling": {
        "time": "2030-01-01T00:00:00Z",
        "from": 1,
        "to": 3,
        "reason": "Demand",
        "message": "Demand 2.6",
    },
    "conditions": [
        {
            "type": name,
            "status": status,
            "observedGeneration": 1,
            "lastTransitionTime": "2030-01-01T00:00:00Z",
            "reason": reason,
            "message": "A text",
        }
        for name, status, reason in (
            ("Ready", "False", "RollingOut"),
            ("Available", "True", "PodsReady"),
            ("Progressing", "True", "RollingOut"),
            ("ScalingActive", "False", "FixedSize"),
        )
    ],
}


def test_kubectl_explains_every_field(api: Api) -> None:
    def explained() -> str:
        return api.kubectl("explain", "poseclusters", "--recursive", check=False).stdout

    told = api.wait_until(explained, 30, "in the published OpenAPI document")
    for node in crd.nodes():
        if not node.path or node.path[-1] == "[]":
            continue
        assert f"{node.path[-1]}\t" in told, node.name
    for path in ("spec.scaling.objective.latencyMilliseconds", "spec.tolerations.key", "status.load.queued"):
        names = path.split(".")
        (node,) = (node for node in crd.nodes() if [name for name in node.path if name != "[]"] == names)
        words = " ".join(api.kubectl("explain", f"poseclusters.{path}").stdout.split())
        assert " ".join(node.schema["description"].split()) in words


def test_short_name_and_category_find_it(api: Api, namespace: str) -> None:
    api.create(body({}, namespace=namespace))
    for name in ("pose", "posecluster", "all"):
        found = api.kubectl("get", name, "-n", namespace, "-o", "name").stdout.split()
        assert "posecluster.posecluster.io/pose" in found


@pytest.mark.smoke
def test_the_columns_show_size_load_and_reason(api: Api, namespace: str) -> None:
    api.create(body({}, namespace=namespace))
    api.patch_status("poseclusters", namespace, "pose", STATUS)
    head, line = api.kubectl("get", "pose", "-n", namespace).stdout.splitlines()
    assert head.split() == ["NAME", "READY", "DESIRED", "QUEUE", "RATE", "AVAILABLE", "REASON", "AGE"]
    assert line.split()[:-1] == ["pose", "1", "3", "4", "17", "True", "FixedSize"]
    head, line = api.kubectl("get", "pose", "-n", namespace, "-o", "wide").stdout.splitlines()
    assert (head.split()[7], line.split()[7]) == ("ROLLOUT", "RollingOut")


def test_kubectl_scale_writes_the_size_within_its_bounds(api: Api, namespace: str) -> None:
    api.create(body({"scaling": {"mode": "Fixed"}}, namespace=namespace))
    api.patch_status("poseclusters", namespace, "pose", STATUS)
    api.kubectl("scale", "pose/pose", "-n", namespace, "--replicas=7")
    assert api.get("poseclusters", namespace, "pose")["spec"]["replicas"] == 7
    with pytest.raises(ApiError, match="less than or equal to 500"):
        api.kubectl("scale", "pose/pose", "-n", namespace, "--replicas=501")
    path = BY_PLURAL["poseclusters"].path(namespace, "pose", "scale")
    scale = api.request("GET", path).json()
    assert scale["spec"] == {"replicas": 7}
    assert scale["status"] == {"replicas": 2, "selector": STATUS["selector"]}


def test_without_replicas_replace_sets_the_default_and_apply_keeps_the_size(api: Api, namespace: str) -> None:
    manifest = body({"scaling": {"mode": "Fixed"}}, namespace=namespace)
    api.apply(manifest, manager="user")
    api.kubectl("scale", "pose/pose", "-n", namespace, "--replicas=7")
    assert api.apply(manifest, manager="user")["spec"]["replicas"] == 7
    found = api.get("poseclusters", namespace, "pose")
    manifest["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
    assert api.replace("poseclusters", namespace, "pose", manifest)["spec"]["replicas"] == 1


def test_a_user_and_the_operator_apply_side_by_side(api: Api, namespace: str) -> None:
    wanted = body({"replicas": 2}, namespace=namespace)
    api.apply(wanted, manager="user")
    status = api.request(
        "PATCH",
        BY_PLURAL["poseclusters"].path(namespace, "pose", "status"),
        body={key: wanted[key] for key in ("apiVersion", "kind", "metadata")} | {"status": STATUS},
        params={"fieldManager": OPERATOR},
        headers={"Content-Type": "application/apply-patch+yaml"},
    )
    assert status.status_code == 200, status.text
    wanted["spec"] = {"replicas": 3, "model": {"variant": "Lite"}}
    stored = api.apply(wanted, manager="user")
    assert (stored["spec"]["replicas"], stored["spec"]["model"]["variant"]) == (3, "Lite")
    assert stored["status"] == STATUS
    owned = {one["manager"]: set(one["fieldsV1"]) for one in stored["metadata"]["managedFields"]}
    assert owned == {"user": {"f:spec"}, OPERATOR: {"f:status"}}


def test_spec_and_status_can_only_be_written_through_their_own_endpoints(api: Api, namespace: str) -> None:
    stored = api.create(body({}, namespace=namespace) | {"status": {"replicas": 9}})
    assert "replicas" not in stored["status"], "only the defaults of the CRD"
    changed = api.patch(
        "poseclusters", namespace, "pose", {"spec": {"replicas": 9}, "status": STATUS}, subresource="status"
    )
    assert (changed["spec"]["replicas"], changed["metadata"]["generation"]) == (1, 1)


def test_status_is_checked_too(api: Api, namespace: str) -> None:
    api.create(body({}, namespace=namespace))
    for wrong in (
        {"replicas": -1},
        {"conditions": [{"type": "Available"}]},
        {"load": {"lateRequestsPermille": 1_001}},
        {"conditions": STATUS["conditions"][:1] * 2},
    ):
        with pytest.raises(ApiError) as raised:
            api.patch_status("poseclusters", namespace, "pose", wrong)
        assert raised.value.status == 422


def test_unknown_fields_are_reported_and_never_stored(api: Api) -> None:
    manifest = body({"model": {"varient": "Lite"}, "hostNetwork": True})
    with pytest.raises(ApiError, match="unknown field") as raised:
        api.create(manifest, dry_run=True)
    assert "spec.hostNetwork" in raised.value.message
    assert "spec.model.varient" in raised.value.message
    api.warnings.clear()
    stored = api.request(
        "POST", BY_PLURAL["poseclusters"].path("default") + "?dryRun=All", body=manifest
    ).json()
    assert "hostNetwork" not in stored["spec"]
    assert "varient" not in stored["spec"]["model"]
    assert any("unknown field" in warning for warning in api.warnings)


@pytest.mark.acceptance(31)
def test_stored_objects_come_back_equal_and_defaults_are_applied_once(
    api: Api, namespace: str, seed: int, record_figure: RecordFigure
) -> None:
    generator = SpecGenerator(random.Random(seed))
    seen: set[str] = set()
    for index in range(OBJECTS):
        spec = generator.valid(share=1 if index < 2 else 0.5)
        seen |= named(spec, "spec")
        manifest = body(spec, name=f"pose-{index}", namespace=namespace)
        made = api.create(copy.deepcopy(manifest))
        read = api.get("poseclusters", namespace, f"pose-{index}")
        assert read == made
        assert within(spec, read["spec"]), (spec, read["spec"])
        assert parse(read).spec == parse(made | {"spec": spec}).spec
        # the first write stores the defaults of the status; no default is applied twice
        stored = api.replace("poseclusters", namespace, f"pose-{index}", read)
        assert (stored["spec"], stored["status"]) == (read["spec"], read["status"])
        assert stored["metadata"]["generation"] == 1
        again = api.replace("poseclusters", namespace, f"pose-{index}", stored)
        assert again == stored
    fields = {node.name for node in crd.nodes() if node.path[:1] == ("spec",) and node.path[-1] != "[]"}
    assert fields - seen == set()
    record_figure("objects equal when read again", OBJECTS, bar="200", sample=f"{len(fields)} fields")


@pytest.mark.control
@pytest.mark.acceptance(31)
def test_control_a_lost_or_changed_field_is_seen() -> None:
    assert not within({"replicas": 1, "model": {}}, {"model": {}})
    assert not within({"tolerations": [{"key": "a"}]}, {"tolerations": [{}]})


def named(value: object, path: str) -> set[str]:
    """Names of the fields that are set."""
    if isinstance(value, list):
        return set().union(*(named(one, f"{path}[]") for one in value))
    found = {path}
    if isinstance(value, dict):
        found = found.union(*(named(one, f"{path}.{key}") for key, one in value.items()))
    return found | ({path.removesuffix("[]")} if path.endswith("[]") else set())


def within(part: object, whole: object) -> bool:
    """Whether all that `part` has is so in `whole`."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and within(value, whole[key]) for key, value in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) == len(whole) and all(map(within, part, whole))
    return part == whole


@pytest.mark.acceptance(31)
def test_every_example_is_valid(api: Api, namespace: str) -> None:
    files = sorted((ROOT / "examples").glob("*.yaml"))
    assert len(files) >= 4
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert text.startswith("# "), f"{file.name}: say what it shows"
        documents = [one for one in yaml.safe_load_all(text) if one]
        assert any(one["kind"] == "PoseCluster" for one in documents)
        done = api.kubectl("apply", "-n", namespace, "--validate=strict", "-f", str(file))
        assert done.stderr == ""
        for one in documents:
            if one["kind"] == "PoseCluster":
                stored = api.get("poseclusters", namespace, one["metadata"]["name"])
                assert parse(stored).spec
                assert within(one["spec"], stored["spec"]), json.dumps(stored)
