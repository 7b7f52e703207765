"""An operator that watches several namespaces loses one, or its Role: the other ones are not affected.

A bare API server has no namespace controller, so `remove_namespace` ends the namespace through the API.
"""

from collections.abc import Callable

import pytest

from harness import client
from harness.kubernetes.accounts import Account
from harness.kubernetes.api import Api
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.loaded_pods import LoadedPods
from harness.kubernetes.operator import OperatorProcess, StartOperator
from harness.kubernetes.player import Player
from harness.kubernetes.rights import NAME, rules
from harness.kubernetes.sizes import auto, deployment_size, start_measured
from harness.kubernetes.waiting import posecluster
from harness.recorder import RecordFigure
from posecluster_operator.kube.permissions import WATCHED

CHILD = "demo-pose"
DENIED, AGAIN = "Namespace is not watched, reads are denied", "Namespace is watched again"
# A denied watch and a denied list are repeated every 15 s at most, and passes of known keys every 2 s here.
NOTICED_SECONDS, BACK_SECONDS = 20.0, 40.0
# Watches are reopened every 2 s, so that the API server checks the Role again. Without this, an open watch
# ends after two minutes.
FREQUENT = {"watch_inactivity_seconds": 2, "stall_seconds": 7_200, "resync_seconds": 2}


@pytest.fixture
def lost(make_namespace: Callable[[], str]) -> str:
    """The namespace that is lost; `namespace` is its neighbour, with the operator's account and Lease."""
    return make_namespace()


@pytest.fixture
def account(api: Api, namespace: str, lost: str) -> Account:
    return api.operator_account(namespaces=(namespace, lost), lease_namespace=namespace)


@pytest.fixture
def start(start_operator: StartOperator, namespace: str, lost: str, account: Account) -> StartOperator:
    """The operator for both namespaces."""

    def start_one(**options: object) -> OperatorProcess:
        return start_operator(
            namespaces=(namespace, lost), account=account, fast=True, **{**FREQUENT, **options}
        )

    return start_one


@pytest.fixture
def _player_of_lost(start_player: Callable[..., Player], lost: str) -> None:
    start_player(namespace=lost)


def lose_role(api: Api, lost: str) -> None:
    api.delete("rolebindings", lost, NAME)


def lose_namespace(api: Api, lost: str) -> None:
    api.remove_namespace(lost)


def bring_back(api: Api, namespace: str, lost: str) -> None:
    """Create what is missing of the lost namespace and the operator's Role in it."""
    if api.find("namespaces", None, lost) is None:
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": lost}})
    api.operator_account(namespaces=(namespace, lost), lease_namespace=namespace)


def create_in_both(api: Api, namespace: str, lost: str) -> None:
    """Create a PoseCluster `demo` in each namespace, and wait until both are rolled out."""
    for where in (namespace, lost):
        api.create(posecluster("demo", where))
        wait_rolled_out(api, where, "demo")


def is_repaired(api: Api, namespace: str) -> Callable[[], bool]:
    """Delete the Service of `demo`; a function that returns whether the operator has created it again."""
    api.delete("services", namespace, CHILD)
    return lambda: api.find("services", namespace, CHILD) is not None


def watched(operator: OperatorProcess, namespace: str) -> bool:
    return operator.metrics("namespace_watched", namespace=namespace) == 1


def lines(operator: OperatorProcess, text: str, namespace: str) -> list[str]:
    return [
        line for line in operator.logs().splitlines() if text in line and f"namespace={namespace}" in line
    ]


@pytest.mark.usefixtures("_player_of_lost")
@pytest.mark.parametrize("lose", [lose_role, lose_namespace], ids=lambda lose: lose.__name__)
@pytest.mark.timeout(300)
def test_a_lost_namespace_costs_only_itself_and_is_taken_up_again(
    api: Api,
    namespace: str,
    lost: str,
    pods: LoadedPods,
    start: StartOperator,
    lose: Callable[[Api, str], None],
    record_figure: RecordFigure,
) -> None:
    operator = start()
    start_measured(api, namespace, pods, ["demo"], auto(1, 6))
    api.create(posecluster("demo", lost, scaling=auto(1, 6)))
    wait_rolled_out(api, lost, "demo")
    operator.wait_until(lambda: watched(operator, lost), "watched", 10)
    lose(api, lost)
    noticed = operator.wait_until(lambda: not watched(operator, lost), "noticed", NOTICED_SECONDS)
    record_figure("lost namespace noticed after", noticed, bar=f"<= {NOTICED_SECONDS:.0f} s", unit="s")
    operator.wait_until(
        lambda: operator.metrics("desired_replicas", namespace=lost) == 0, "its series removed", 20
    )
    # the neighbour is scaled and repaired
    pods.of("demo").per_second = 60
    operator.wait_until(lambda: deployment_size(api, namespace, "demo") > 1, "neighbour scaled", 20)
    operator.wait_until(is_repaired(api, namespace), "neighbour repaired", 20)
    api.wait_condition(namespace, "demo", "ScalingActive", status="True")
    assert watched(operator, namespace)
    assert (operator.probe("/readyz"), operator.probe("/livez")) == (200, 200)
    # and new PoseClusters are created
    api.create(posecluster("later", namespace))
    wait_rolled_out(api, namespace, "later")
    assert len(lines(operator, DENIED, lost)) == 1
    assert operator.metrics("reconcile_total", result="error") <= 1, "a pass that was under way"
    bring_back(api, namespace, lost)
    if lose is lose_namespace:
        api.create(posecluster("demo", lost))
    back = operator.wait_until(lambda: watched(operator, lost), "watched again", BACK_SECONDS)
    record_figure("taken up again after", back, bar=f"<= {BACK_SECONDS:.0f} s", unit="s")
    wait_rolled_out(api, lost, "demo")
    operator.wait_until(is_repaired(api, lost), "repaired again", 20)
    assert len(lines(operator, DENIED, lost)) == len(lines(operator, AGAIN, lost)) == 1
    assert "Watch stopped" not in operator.logs()


@pytest.mark.usefixtures("_player_of_lost")
@pytest.mark.control
def test_without_its_role_a_namespace_is_neither_repaired_nor_reconciled(
    api: Api, namespace: str, lost: str, player: Player, start: StartOperator
) -> None:
    operator = start()
    create_in_both(api, namespace, lost)
    lose_role(api, lost)
    operator.wait_until(lambda: not watched(operator, lost), "noticed", NOTICED_SECONDS)
    repaired = is_repaired(api, lost)
    operator.wait_until(is_repaired(api, namespace), "neighbour repaired", 20)
    with pytest.raises(AssertionError, match="not repaired"):
        api.wait_until(repaired, 5, "repaired")


@pytest.mark.timeout(300)
def test_an_operator_that_starts_without_a_namespace_serves_the_others(
    api: Api,
    namespace: str,
    lost: str,
    account: Account,
    player: Player,
    start: StartOperator,
    start_player: Callable[..., Player],
) -> None:
    api.remove_namespace(lost)
    operator = start()
    api.create(posecluster("demo", namespace))
    wait_rolled_out(api, namespace, "demo")
    assert (watched(operator, namespace), watched(operator, lost)) == (True, False)
    assert f"everything in namespace {lost}" in operator.logs()
    assert len(lines(operator, DENIED, lost)) == 1
    bring_back(api, namespace, lost)
    api.create(posecluster("demo", lost))
    start_player(namespace=lost)
    operator.wait_until(lambda: watched(operator, lost), "taken up", BACK_SECONDS)
    wait_rolled_out(api, lost, "demo")


@pytest.mark.acceptance(23)
@pytest.mark.timeout(300)
def test_an_operator_without_any_namespace_waits_and_says_so(
    api: Api, namespace: str, lost: str, account: Account, player: Player, start: StartOperator
) -> None:
    account.revoke()
    operator = start(wait=False)
    operator.wait_log("Waiting for permissions, grant them as in charts/posecluster/files/permissions.yaml")
    reason = probe_text(operator, "/readyz")
    assert f"everything in namespace {namespace}; everything in namespace {lost}; create leases" in reason
    assert operator.probe("/livez") == 200
    assert not watched(operator, namespace)
    account.restore()
    operator.wait_ready(30)
    operator.wait_leader()
    assert operator.logs().count("Waiting for permissions") == 1
    api.create(posecluster("demo", namespace))
    wait_rolled_out(api, namespace, "demo")


def test_an_operator_that_loses_every_namespace_is_not_ready_and_does_not_end(
    api: Api, namespace: str, lost: str, player: Player, start: StartOperator
) -> None:
    operator = start()
    for one in (namespace, lost):
        api.delete("rolebindings", one, NAME)
    operator.wait_until(lambda: operator.probe("/readyz") == 503, "not ready", NOTICED_SECONDS)
    assert probe_text(operator, "/readyz").startswith("not watched, because reads are denied: ")
    assert operator.probe("/livez") == 200
    bring_back(api, namespace, lost)
    operator.wait_ready(BACK_SECONDS)


@pytest.mark.usefixtures("_player_of_lost")
def test_a_kind_that_may_not_be_read_costs_only_its_namespace(
    api: Api, namespace: str, lost: str, player: Player, start: StartOperator
) -> None:
    operator = start()
    create_in_both(api, namespace, lost)
    role = api.get("roles", lost, NAME)
    role["rules"] = rules([rule for rule in WATCHED if rule.resource != "poddisruptionbudgets"])
    api.replace("roles", lost, NAME, role)
    operator.wait_until(lambda: not watched(operator, lost), "noticed", NOTICED_SECONDS)
    api.wait_condition(lost, "demo", "Progressing", reason="Forbidden")
    operator.wait_until(is_repaired(api, namespace), "neighbour repaired", 20)
    assert operator.probe("/readyz") == 200
    role = api.get("roles", lost, NAME)
    role["rules"] = rules(WATCHED)
    api.replace("roles", lost, NAME, role)
    operator.wait_until(lambda: watched(operator, lost), "watched again", BACK_SECONDS)
    wait_rolled_out(api, lost, "demo")


def probe_text(operator: OperatorProcess, path: str) -> str:
    """Return the text of a probe."""
    return client.get(operator.url + path, timeout_seconds=5).body.decode()
