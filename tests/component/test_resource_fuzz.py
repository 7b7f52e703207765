"""Check 35, the pure half: generated PoseClusters and live objects through all that a pass computes.

Each input is identified by (seed, index). How the API server treats such objects is tested in
tests/apiserver/test_resource_fuzz.py.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness import generated_objects, generated_specs
from harness.reasons import allowed_reasons
from harness.recorder import RecordFigure
from posecluster_operator.builders import Inputs, desired_children
from posecluster_operator.builders.table import idents
from posecluster_operator.errors import InvalidSpec
from posecluster_operator.reconcile.apply import fingerprint
from posecluster_operator.reconcile.children import blocked_by
from posecluster_operator.reconcile.rollout_diagnosis import Failure, find_failure
from posecluster_operator.reconcile.status import compute_status, mark_problem, notices, status_patch
from posecluster_operator.resource.parsing import parse
from posecluster_operator.resource.posecluster import PodDefaults, PoseCluster, Spec
from posecluster_operator.resource.reasons import REASONS, ProgressingReason
from posecluster_operator.scaling.policy import Samples, State, decide
from posecluster_operator.scaling.policy.policy import policy_of

INPUTS, LONG_INPUTS = 2_000, 10_000
VALID_SHARE = 0.3
LONGEST_SECONDS = 1.0
LONGEST_MESSAGE = 32_768  # of a condition, in the CRD
LARGEST_MANIFEST = 1_000_000  # bytes; the API server takes 1.5 MiB
NOW = datetime(2026, 1, 1, tzinfo=UTC)
IMAGES = PodDefaults(
    image="example.test/default:1",
    allowed_labels=("example.com/*",),  # what `SpecGenerator` makes
    allowed_annotations=("example.com/*",),
)


class Broken(AssertionError):
    """An input that no pass would survive; it names seed and index."""


@dataclass(slots=True)
class Tally:
    """What came of the inputs."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0


def one_pass(rng: random.Random, spec: Any) -> tuple[str, str]:
    """Everything pure that `reconcile` does with one PoseCluster; (outcome, reason of Progressing)."""
    body = generated_objects.stored(rng, spec)
    cluster, problem = _parse(body)
    outcome = "invalid" if problem else "acted on"
    desired = _desired(rng, cluster)
    touched = rng.random() < 0.3
    live: dict[tuple[str, str], Any] = dict.fromkeys(idents(cluster))
    live |= {
        (manifest["kind"], manifest["metadata"]["name"]): generated_objects.live(
            rng, manifest, touched=touched
        )
        for manifest in desired
        if rng.random() < 0.8
    }
    deployment = next((one for (kind, _name), one in live.items() if kind == "Deployment" and one), None)
    pods = generated_objects.pods(rng, deployment)
    for one in live.values():
        assert one is None or fingerprint(one) == fingerprint(json.loads(json.dumps(one)))
    problem = problem or blocked_by(cluster, live)
    decision = None if cluster.paused or outcome == "invalid" else _decide(cluster, deployment)
    if deployment is not None:
        _check_failure(find_failure(deployment, pods, token_secret=cluster.spec.auth.token_secret_name))
    facts: Any = {"deployment": deployment, "pods": pods, "decision": decision, "problem": problem}
    status = compute_status(cluster, **facts, now=NOW)
    _check_status(status)
    _check_quiet(cluster, status, lambda seen, now: compute_status(seen, **facts, now=now))
    _check_status(mark_problem(cluster, Failure(ProgressingReason.FORBIDDEN, "x"), now=NOW))
    for notice in notices(cluster.status, status):
        assert notice.type in ("Normal", "Warning")
        assert notice.reason.isalpha()
    return outcome, status["conditions"][1]["reason"]


def _parse(body: Mapping[str, Any]) -> tuple[PoseCluster, Failure | None]:
    try:
        cluster = parse(body)
        desired_children(_inputs(cluster, replicas=1))  # for labels that are not allowed
        return cluster, None
    except InvalidSpec as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) <= 1_000
    return parse(body, spec=Spec()), Failure(ProgressingReason.INVALID_SPEC, message)


def _inputs(cluster: PoseCluster, *, replicas: int) -> Inputs:
    return Inputs(cluster=cluster, replicas=replicas, images=IMAGES, version="0.0.1")


def _desired(rng: random.Random, cluster: PoseCluster) -> tuple[dict[str, Any], ...]:
    """The manifests, checked; also for an invalid spec, of which the children are those of an earlier one."""
    replicas = rng.choice((0, 1, 2, cluster.spec.replicas))
    desired = desired_children(_inputs(cluster, replicas=replicas))
    assert [one["kind"] for one in desired[:3]] == ["Service", "Service", "Deployment"]
    assert len(desired) == (4 if replicas >= 2 else 3)
    for manifest in desired:
        assert len(json.dumps(manifest, allow_nan=False)) <= LARGEST_MANIFEST
        assert manifest["metadata"]["ownerReferences"][0]["uid"] == cluster.uid
    return desired


def _decide(cluster: PoseCluster, deployment: Mapping[str, Any] | None) -> Any:
    seen = Samples(replicas=deployment and deployment["spec"].get("replicas"), ready=0)
    decision = decide(0.0, seen, State(policy=policy_of(cluster)))
    assert 0 <= decision.replicas <= 500
    return decision


def _check_failure(failure: Failure | None) -> None:
    assert failure is None or (failure.message and len(failure.message) <= LONGEST_MESSAGE)


def _check_status(status: dict[str, Any]) -> None:
    json.dumps(status, allow_nan=False)
    for name in ("observedGeneration", "replicas", "readyReplicas", "desiredReplicas"):
        assert type(status[name]) is int
        assert status[name] >= 0
    found = {one["type"]: one for one in status["conditions"]}
    assert set(map(str, REASONS)) <= set(found)
    for kind, condition in found.items():
        assert condition["reason"] in allowed_reasons(kind), condition
        assert condition["status"] in ("True", "False")
        assert 0 < len(condition["message"]) <= LONGEST_MESSAGE
        assert generated_objects.UID not in condition["message"]


def _check_quiet(
    cluster: PoseCluster, status: dict[str, Any], compute: Callable[[PoseCluster, datetime], dict[str, Any]]
) -> None:
    """Equal facts cause no write at any time."""
    patch = status_patch(cluster.status, status)
    if patch is None:
        return
    merged = {**cluster.status, **patch["status"]}
    stored = {key: value for key, value in merged.items() if value is not None}
    assert stored == status
    seen = PoseCluster(**{name: getattr(cluster, name) for name in cluster.__slots__} | {"status": stored})
    assert status_patch(stored, compute(seen, NOW + timedelta(hours=1))) is None


def fuzz(seed: int, count: int, handle: Callable[[random.Random, Any], tuple[str, str]] = one_pass) -> Tally:
    """Run inputs 0 to `count`; raises Broken for the first that is not handled."""
    tally = Tally()
    for index in range(count):
        rng = random.Random(f"{seed} {index}")
        valid = rng.random() < VALID_SHARE + 0.05  # so that the share holds for any seed
        spec = (generated_specs.valid_spec if valid else generated_specs.odd_spec)(rng)
        started = time.process_time()
        try:
            outcome, reason = handle(rng, spec)
        except Exception as error:
            raise Broken(f"seed {seed}, input {index}: {error!r}") from error
        tally.slowest_seconds = max(tally.slowest_seconds, time.process_time() - started)
        assert not (valid and outcome == "invalid"), f"seed {seed}, input {index}: valid, but refused"
        tally.outcomes["valid" if valid else outcome] += 1
        tally.reasons[reason] += 1
    return tally


@pytest.mark.acceptance(35)
def test_no_generated_object_breaks_a_pass(seed: int, long_run: bool, record_figure: RecordFigure) -> None:
    count = LONG_INPUTS if long_run else INPUTS
    tally = fuzz(seed, count)
    assert tally.outcomes["valid"] >= VALID_SHARE * count
    assert tally.outcomes["invalid"] >= 0.1 * count
    assert len(tally.reasons) >= 8, tally.reasons  # the inputs reach most of what can be said
    assert tally.slowest_seconds <= LONGEST_SECONDS
    record_figure("inputs handled", count, bar=f">= {INPUTS}", sample=f"{tally.outcomes['valid']} valid")
    record_figure("slowest input", tally.slowest_seconds * 1000, bar="<= 1000 ms", unit="ms", sample=count)


@pytest.mark.acceptance(35)
@pytest.mark.control
def test_a_planted_exception_is_found(seed: int) -> None:
    def slips(rng: random.Random, spec: Any) -> tuple[str, str]:
        if isinstance(spec, dict) and spec.get("drainSeconds") == 0:
            rng.randrange(spec["drainSeconds"])
        return one_pass(rng, spec)

    with pytest.raises(Broken, match=rf"seed {seed}, input \d+: ValueError"):
        fuzz(seed, INPUTS, slips)
