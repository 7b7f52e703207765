"""K-11, K-12: outdated answers of the API server destroy nothing; without its CRD the operator waits."""

import time
from collections.abc import Callable

import pytest

from harness.kubernetes.api import CRD_FILE, Api
from harness.kubernetes.facts import CHILD_RESOURCES, children, intent, names, wait_passes, wait_rolled_out
from harness.kubernetes.operator import OperatorProcess, StartOperator
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.sizes import auto
from harness.kubernetes.waiting import Json, posecluster, wait_until

NAME = "demo"
OLD_ANSWERS = 3
CRD = "poseclusters.posecluster.io"


def poke(api: Api, namespace: str, number: int) -> None:
    """Make the operator look, by a label that means nothing."""
    api.patch("poseclusters", namespace, NAME, {"metadata": {"labels": {"poke": str(number)}}})


def serve_old(api: Api, namespace: str, proxy: FaultProxy, resource: str, old: Json) -> None:
    """Answer GETs of an object with this, until it was read some times; nothing may be written of it."""
    before = {key: intent(one) for key, one in children(api, namespace).items()}
    since = time.monotonic()
    with proxy.fault(
        verb="get", resource=resource, name=old["metadata"]["name"], do="answer", status=200, body=old
    ) as rule:
        poke(api, namespace, 1)
        wait_until(lambda: len(rule.hits) >= OLD_ANSWERS, 20, "read old answers")
    assert proxy.find(verb="write", resource=CHILD_RESOURCES, since=since) == []
    assert {key: intent(one) for key, one in children(api, namespace).items()} == before


@pytest.mark.hostile("K-11")
def test_an_old_posecluster_shrinks_nothing(
    api: Api, namespace: str, player: Player, proxy: FaultProxy, operator: OperatorProcess
) -> None:
    api.create(posecluster(NAME, namespace, replicas=1, image="example.test/pose:0"))
    old = wait_rolled_out(api, namespace, NAME)
    api.patch("poseclusters", namespace, NAME, {"spec": {"replicas": 3, "image": "example.test/pose:1"}})
    wait_rolled_out(api, namespace, NAME)
    serve_old(api, namespace, proxy, "poseclusters", old)
    # and when the answers are right again, it continues
    api.patch("poseclusters", namespace, NAME, {"spec": {"replicas": 2}})
    assert wait_rolled_out(api, namespace, NAME)["status"]["readyReplicas"] == 2


@pytest.mark.hostile("K-11")
def test_an_old_deployment_shrinks_nothing(
    api: Api, namespace: str, player: Player, proxy: FaultProxy, operator: OperatorProcess
) -> None:
    """In Auto the size is what the Deployment has, so an old one would be a smaller one."""
    api.create(posecluster(NAME, namespace, scaling=auto(1, 5), replicas=1))
    wait_rolled_out(api, namespace, NAME)
    old = api.get("deployments", namespace, f"{NAME}-pose")
    # raised by its bounds; nothing is measured, so it is held when these are lowered
    for low in (4, 1):
        api.patch("poseclusters", namespace, NAME, {"spec": {"scaling": {"minReplicas": low}}})
        assert wait_rolled_out(api, namespace, NAME)["status"]["readyReplicas"] == 4
    wait_rolled_out(api, namespace, NAME)
    serve_old(api, namespace, proxy, "deployments", old)
    poke(api, namespace, 2)
    wait_passes(operator, 1)
    assert api.get("deployments", namespace, f"{NAME}-pose")["spec"]["replicas"] == 4


@pytest.mark.hostile("K-11")
def test_an_old_list_without_it_deletes_nothing(
    api: Api, namespace: str, player: Player, proxy: FaultProxy, operator: OperatorProcess
) -> None:
    path = f"/apis/posecluster.io/v1alpha1/namespaces/{namespace}/poseclusters"
    old = api.request("GET", path).json()
    assert old["items"] == []
    api.create(posecluster(NAME, namespace, replicas=2))
    wait_rolled_out(api, namespace, NAME)
    before = {key: intent(one) for key, one in children(api, namespace).items()}
    assert set(before) == names(NAME)
    since = time.monotonic()
    with (
        proxy.fault(verb="list", resource="poseclusters", do="answer", status=200, body=old) as rule,
        proxy.fault(verb="watch", resource="poseclusters", do="gone", times=1),
    ):
        wait_until(lambda: rule.hits, 20, "read the old list")
        wait_passes(operator, 1)
    assert proxy.writes(since=since) == []
    assert {key: intent(one) for key, one in children(api, namespace).items()} == before
    assert operator.metrics("desired_replicas", name=NAME) == 2


@pytest.mark.hostile("K-12")
def test_without_its_crd_the_operator_waits_and_goes_on(
    own_api: Callable[[], Api],
    make_namespace: Callable[..., str],
    start_player: Callable[..., Player],
    start_proxy: Callable[[Api], FaultProxy],
    start_operator: StartOperator,
) -> None:
    api = own_api()
    namespace = make_namespace(api)
    player = start_player(api=api, namespace=namespace)
    proxy = start_proxy(api)

    def remove_crd() -> None:
        api.delete("customresourcedefinitions", None, CRD)
        wait_until(lambda: api.find("customresourcedefinitions", None, CRD) is None, 30, "removed")

    def start() -> OperatorProcess:
        return start_operator(
            api=api, namespaces=(namespace,), lease_namespace=namespace, through=proxy, wait=False
        )

    remove_crd()
    operator = start()
    operator.wait_log("Waiting for the CRD", 20)
    assert operator.probe("/readyz") == 503
    assert operator.probe("/livez") == 200
    operator.terminate()
    assert operator.wait(3) == 0, "it can be ended while it waits"
    operator = start()
    operator.wait_log("Waiting for the CRD", 20)
    api.install_crd(CRD_FILE)
    operator.wait_ready(30)
    operator.wait_leader(10)
    api.create(posecluster(NAME, namespace, replicas=2))
    wait_rolled_out(api, namespace, NAME)

    remove_crd()  # and every PoseCluster with it
    wait_until(lambda: operator.metrics("desired_replicas", name=NAME) == 0, 30, "noticed")
    since = time.monotonic()
    wait_until(lambda: proxy.find(verb="get", resource="", since=since), 30, "asked for the CRD")
    assert proxy.writes(since=since) == []
    assert len(proxy.find(since=since)) <= 20, "no hot loop"
    assert operator.running()

    api.install_crd(CRD_FILE)
    player.collect_garbage()
    api.create(posecluster("new", namespace))
    wait_rolled_out(api, namespace, "new", 45)
    assert operator.probe("/livez") == 200
    assert operator.ready()
