"""The operator's /explain endpoint: the scaler's knowledge, or why there is none and what to do."""

from collections.abc import Callable
from typing import Any

import pytest

from harness.kube_objects import deployment
from harness.poseclusters import posecluster
from posecluster_operator.admin.metrics import Metrics
from posecluster_operator.admin.namespaces import Namespaces
from posecluster_operator.builders.table import INFERENCE_DEPLOYMENT
from posecluster_operator.explain.endpoint import Explainer
from posecluster_operator.resource.posecluster import PoseCluster
from posecluster_operator.scaling.pod_list import PodList
from posecluster_operator.scaling.scaler import Scaler
from posecluster_operator.scaling.scraper import Scraper

pytestmark = pytest.mark.unit


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1")  # reads /proc, so not on the loop


@pytest.fixture
async def scaler(clock: Callable[[], float], metrics: Metrics) -> Any:
    """A scaler without ticks: it knows only what passes reported."""
    nobody: Any = None
    pod_list = PodList(
        nobody, INFERENCE_DEPLOYMENT, namespaces=Namespaces(), monotonic=clock, wanted=lambda: True
    )
    scraper = Scraper(monotonic=clock)
    yield Scaler(pod_list, scraper, metrics=metrics, monotonic=clock, wake=lambda _key: None)
    await scraper.close()


def pass_over(scaler: Scaler, cluster: PoseCluster) -> None:
    scaler.decide(cluster, {**deployment(replicas=3, ready=2), "metadata": {"name": "demo-pose"}})


async def test_before_the_operator_has_started_the_answer_says_so() -> None:
    reply = Explainer().explain("default", "demo")
    assert (reply.ok, "still starting" in reply.text) == (False, True)


async def test_a_standby_names_the_lease(scaler: Scaler) -> None:
    explainer = Explainer()
    explainer.follow(scaler, namespaces=Namespaces(), held=lambda: False)
    pass_over(scaler, posecluster())
    reply = explainer.explain("default", "demo")
    assert (reply.ok, "does not hold the Lease" in reply.text) == (False, True)


async def test_results_of_passes_are_shown_until_they_are_forgotten(scaler: Scaler, clock: Clock) -> None:
    explainer = Explainer()
    explainer.follow(scaler, namespaces=Namespaces(), held=lambda: True)
    assert "does not scale a PoseCluster" in explainer.explain("default", "demo").text
    pass_over(scaler, posecluster())
    clock.now += 30.0
    reply = explainer.explain("default", "demo")
    assert reply.ok
    assert reply.text.startswith("posecluster default/demo has 3 pods (bounds 1-10): ")
    assert "3 desired, 2 ready" in reply.text
    assert "These figures are 30 s old, because the operator is overloaded." in reply.text
    assert not explainer.explain("default", "other").ok
    assert not explainer.explain("default/demo", "").ok
    scaler.forget("default/demo")
    assert not explainer.explain("default", "demo").ok


async def test_a_fixed_posecluster_has_no_scaling_decision(scaler: Scaler) -> None:
    pass_over(scaler, posecluster({"scaling": {"mode": "Fixed"}}))
    assert scaler.snapshot("default/demo") is None


async def test_a_namespace_in_which_reads_are_denied_is_named(scaler: Scaler) -> None:
    namespaces, explainer = Namespaces(["default", "gone"]), Explainer()
    explainer.follow(scaler, namespaces=namespaces, held=lambda: True)
    namespaces.deny("gone", "get poseclusters", "denied")
    assert "does not watch the namespace" in explainer.explain("gone", "demo").text
    assert "does not scale a PoseCluster" in explainer.explain("default", "demo").text
