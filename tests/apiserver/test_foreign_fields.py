"""Check 26: fields added to parts that only we own are removed; elsewhere they are kept."""

from collections.abc import Callable

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.facts import assert_quiet, wait_quiet, wait_rolled_out
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import Json, posecluster

NAME, CHILD = "demo", "demo-pose"
_EVIL = {"name": "evil", "image": "example.test/evil:1"}
# plural, a strategic merge patch
EDITS: dict[str, tuple[str, Json]] = {
    "container": ("deployments", {"template": {"spec": {"containers": [_EVIL]}}}),
    "init container": ("deployments", {"template": {"spec": {"initContainers": [_EVIL]}}}),
    "host network": ("deployments", {"template": {"spec": {"hostNetwork": True}}}),
    "node": ("deployments", {"template": {"spec": {"nodeSelector": {"no": "where"}}}}),
    "service account": ("deployments", {"template": {"spec": {"serviceAccountName": "mighty"}}}),
    "admin port": ("services", {"ports": [{"name": "admin", "port": 9090, "targetPort": 9090}]}),
    "unready pods": ("services", {"publishNotReadyAddresses": True}),
}


@pytest.fixture
def operator(start_operator: Callable[..., OperatorProcess]) -> OperatorProcess:
    """One that looks again each second, so that a fight would show soon."""
    return start_operator(resync_seconds=1)


@pytest.fixture
def settled(api: Api, namespace: str, player: Player, operator: OperatorProcess) -> Json:
    """A PoseCluster that is rolled out."""
    made = api.create(posecluster(NAME, namespace))
    wait_rolled_out(api, namespace, NAME)
    return made


@pytest.mark.acceptance(26)
@pytest.mark.parametrize("edit", EDITS)
def test_fields_added_to_the_pod_template_or_service_are_removed(
    api: Api, namespace: str, settled: Json, operator: OperatorProcess, proxy: FaultProxy, edit: str
) -> None:
    plural, patch = EDITS[edit]
    before = api.get(plural, namespace, CHILD)["spec"]
    api.patch(plural, namespace, CHILD, {"spec": patch}, kind="strategic")
    api.wait_until(lambda: api.get(plural, namespace, CHILD)["spec"] == before, 10, "as it was")
    wait_rolled_out(api, namespace, NAME)
    wait_quiet(operator, proxy)
    assert_quiet(operator, proxy, passes=2)  # put right once: no fight


@pytest.mark.parametrize("child", [CHILD, f"{CHILD}-pods"])
def test_the_ip_families_that_a_user_gives_a_service_stay(
    api: Api, namespace: str, settled: Json, operator: OperatorProcess, proxy: FaultProxy, child: str
) -> None:
    families = {"ipFamilyPolicy": "PreferDualStack"}
    api.patch("services", namespace, child, {"spec": families})
    wait_quiet(operator, proxy)
    api.patch("poseclusters", namespace, NAME, {"spec": {"service": {"port": 8_001}}})
    api.wait_until(
        lambda: api.get("services", namespace, CHILD)["spec"]["ports"][0]["port"] == 8_001,
        10,
        "applied again",
    )
    wait_quiet(operator, proxy)
    assert_quiet(operator, proxy, passes=2)
    assert api.get("services", namespace, child)["spec"]["ipFamilyPolicy"] == "PreferDualStack"


@pytest.mark.acceptance(26)
def test_a_kubectl_rollout_restart_is_kept(
    api: Api, namespace: str, settled: Json, operator: OperatorProcess, proxy: FaultProxy
) -> None:
    api.kubectl("rollout", "restart", "-n", namespace, f"deployment/{CHILD}")
    wait_quiet(operator, proxy)
    template = api.get("deployments", namespace, CHILD)["spec"]["template"]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
