"""Check 35: generated PoseClusters through a real API server, and stored ones that it would refuse today.

The pure half is in tests/component/test_resource_fuzz.py.
"""

import copy
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness import crd
from harness.generated_specs import odd_spec, valid_name, valid_spec
from harness.kubernetes.api import Api
from harness.kubernetes.changed_operator import planted
from harness.kubernetes.operator import OperatorProcess, unwanted
from harness.kubernetes.player import Player
from harness.kubernetes.resources import BY_PLURAL
from harness.kubernetes.waiting import Json, conditions, is_settled
from harness.recorder import RecordFigure
from posecluster_operator.resource.reasons import REASONS, ConditionType

OBJECTS, STORED = 100, 60
VALID_SHARE = 0.3
MOST_SECONDS = 30.0
LONGEST_LINE = 4_096
# the API server takes them for a custom resource, and not for a Service
NAMES = ("a.b.c", "0", "1-x", "x" * 60, "y" * 200, "a" * 41)
DEFAULT_IMAGE = "example.test/default:1"

SLIP = """
from posecluster_operator.reconcile import status
_compute = status.compute_status

def _slips(cluster, **facts):
    return _compute(cluster, **facts) | ({}["planted"] if cluster.name.startswith("planted") else {})

status.compute_status = _slips
"""


def manifest(name: str, namespace: str, spec: object) -> Json:
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "posecluster.io/v1alpha1",
        "kind": "PoseCluster",
        "metadata": metadata,
        "spec": spec,
    }


def post(api: Api, body: Json) -> int:
    """Create it as kubectl with --validate=ignore does; the status."""
    path = BY_PLURAL["poseclusters"].path(body["metadata"]["namespace"])
    response = api.request("POST", path, body=body, params={"fieldValidation": "Ignore"})
    assert response.status_code == 201 or 400 <= response.status_code < 500, response.text
    return response.status_code


def judged(item: Json) -> str:
    """The reason by which a PoseCluster is Ready, or said to be stuck; "" while it is neither."""
    found = conditions(item).get("Progressing", {})
    current = item.get("status", {}).get("observedGeneration") == item["metadata"]["generation"]
    if not current or found.get("reason") == "RollingOut":
        return ""
    assert found["reason"] in set(REASONS[ConditionType.PROGRESSING])
    return str(found["reason"]) if found["status"] == "False" or is_ready(item) else ""


def is_ready(item: Json) -> bool:
    """Also with a size of 0, which is never Available."""
    return is_settled(item) or item["status"].get("desiredReplicas") == item["status"].get("replicas") == 0


def wait_judged(api: Api, namespace: str, seconds: float) -> Counter[str]:
    """Wait until every PoseCluster is Ready or has a condition that says why not; how many by reason."""
    end = time.monotonic() + seconds
    while True:
        items = api.list("poseclusters", namespace)
        silent = sorted(item["metadata"]["name"] for item in items if not judged(item))
        if not silent:
            return Counter(map(judged, items))
        assert time.monotonic() < end, f"neither Ready nor told why after {seconds} s: {silent[:5]}"
        time.sleep(0.3)


def check_log(operator: OperatorProcess) -> int:
    """Length of the longest line; no line is too long, and no error was not expected."""
    log = operator.logs()
    assert unwanted(log) == ""
    longest = max(len(line.encode()) for line in log.splitlines())
    assert longest <= LONGEST_LINE
    return longest


def numbers(seed: int, what: str, count: int) -> Sequence[random.Random]:
    return [random.Random(f"{seed} {what} {index}") for index in range(count)]


@pytest.mark.acceptance(35)
@pytest.mark.timeout(120)
def test_generated_poseclusters_become_ready_or_report_why_not(
    api: Api,
    namespace: str,
    start_player: Callable[..., Player],
    start_operator: Callable[..., OperatorProcess],
    seed: int,
    record_figure: RecordFigure,
) -> None:
    start_player(pods=False)
    operator = start_operator(
        inference_image=DEFAULT_IMAGE,
        allowed_pod_labels="example.com/*",  # what `SpecGenerator` makes
        allowed_pod_annotations="example.com/*",
    )
    outcomes: Counter[str] = Counter()
    for index, rng in enumerate(numbers(seed, "api", OBJECTS)):
        valid = index < OBJECTS * VALID_SHARE
        spec = valid_spec(rng) if valid else odd_spec(rng)
        status = post(api, manifest(f"{valid_name(rng)[:30]}{index}", namespace, spec))
        assert not valid or status == 201, f"seed {seed}, input {index}: valid, but {status}"
        outcomes["valid" if valid else "odd, taken" if status == 201 else "odd, refused"] += 1
    reasons = wait_judged(api, namespace, MOST_SECONDS)
    longest = check_log(operator)
    assert reasons["RolloutComplete"] >= outcomes["valid"] / 2
    assert outcomes["odd, taken"] >= 5
    assert outcomes["odd, refused"] >= 20
    sample = ", ".join(f"{count} {what}" for what, count in sorted(outcomes.items()))
    record_figure("generated PoseClusters not judged in 30 s", 0, bar="0", sample=sample)
    record_figure("longest log line", longest, bar=f"<= {LONGEST_LINE} B", unit="B")


@pytest.mark.acceptance(35)
@pytest.mark.timeout(120)
def test_objects_stored_before_the_schema_get_an_error_that_names_the_field(
    own_api: Callable[[], Api],
    start_player: Callable[..., Player],
    start_operator: Callable[..., OperatorProcess],
    seed: int,
    record_figure: RecordFigure,
) -> None:
    api = own_api()
    api.apply(lax_crd(), manager="crd", force=True)
    where = api.make_namespace()
    start_player(api=api, namespace=where, pods=False)
    operator = start_operator(
        api=api, namespaces=(where,), lease_namespace=where, inference_image=DEFAULT_IMAGE
    )
    api.wait_until(
        lambda: post(api, manifest("first", where, {"replicas": "one"})) == 201, 15, "a lax schema"
    )
    odd = [(f"s{index}", odd_spec(rng)) for index, rng in enumerate(numbers(seed, "stored", STORED))]
    named: list[tuple[str, object]] = [(name, {}) for name in NAMES]
    stored = sum(post(api, manifest(name, where, spec)) == 201 for name, spec in (*named, *odd))
    reasons = wait_judged(api, where, MOST_SECONDS)
    check_log(operator)
    assert stored >= STORED / 2
    assert reasons["InvalidSpec"] >= stored / 3
    record_figure(
        "of what no schema had checked, not judged in 30 s",
        0,
        bar="0",
        sample=", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())),
    )


def lax_crd() -> Json:
    """The CRD without a word on the spec, as if an older one had allowed anything."""
    document = copy.deepcopy(crd.document())
    schema = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["x-kubernetes-validations"]
    schema["properties"]["spec"] = {"x-kubernetes-preserve-unknown-fields": True}
    del document["spec"]["versions"][0]["subresources"]["scale"]  # it wants to find spec.replicas
    return document


@pytest.mark.acceptance(35)
@pytest.mark.control
def test_a_planted_exception_is_found(
    api: Api,
    namespace: str,
    start_player: Callable[..., Player],
    start_operator: Callable[..., OperatorProcess],
    tmp_path: Path,
) -> None:
    start_player(pods=False)
    operator = start_operator(inference_image=DEFAULT_IMAGE, env=planted(tmp_path / "slip", SLIP))
    operator.allow_in_log.append("Traceback")
    post(api, manifest("fine", namespace, {"scaling": {"mode": "Fixed"}}))
    api.wait_ready(namespace, "fine")
    post(api, manifest("planted", namespace, {}))
    with pytest.raises(AssertionError, match="neither Ready nor told why"):
        wait_judged(api, namespace, 3.0)
    with pytest.raises(AssertionError):
        check_log(operator)
    assert unwanted(operator.logs()) == "'Traceback'"
