"""The client when the connection to the API server is bad, or another holder takes the Lease meanwhile."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.client import Calls, open_kube
from harness.kubernetes.proxy import FaultProxy, Rule
from posecluster_operator.builders.kinds import SERVICES, Resource
from posecluster_operator.errors import NotLeader, Retryable
from posecluster_operator.kube.client import Kube

pytestmark = pytest.mark.apiserver

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")


def _service(namespace: str) -> dict[str, Any]:
    metadata = {"name": "x", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}}


@pytest.fixture
def calls() -> Calls:
    return []


@pytest.fixture
async def through(api: Api, namespace: str, proxy: FaultProxy, calls: Calls) -> AsyncIterator[Kube]:
    """A client behind the fault proxy, with rights to everything in the namespace."""
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    account = api.account(namespace, "all", [everything])
    async with open_kube(account.kubeconfig(proxy.url), seconds=1, calls=calls) as opened:
        yield opened


async def test_an_expired_list_is_restarted_once(
    through: Kube, api: Api, namespace: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posecluster_operator.kube.client._CHUNK", 2)
    for number in range(3):
        metadata = {"name": f"m{number}", "namespace": namespace}
        api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    rule = proxy.add(Rule(verb="list", resource="configmaps", nth=2, do="answer", status=410))
    names = {one["metadata"]["name"] for one in await through.list(CONFIG_MAPS, namespace)}
    assert names >= {"m0", "m1", "m2"}  # a controller manager adds kube-root-ca.crt
    proxy.remove(rule)
    proxy.add(Rule(verb="list", resource="configmaps", do="answer", status=410))
    with pytest.raises(Retryable) as caught:
        await through.list(CONFIG_MAPS, namespace)
    assert caught.value.status == 410


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (Rule(do="hang"), "timeout"),
        (Rule(do="reset"), "error"),
        (Rule(do="lose"), "error"),
        (Rule(do="cut"), "error"),
        (Rule(do="bad_json"), "200"),
        (Rule(do="answer", status=503), "503"),
    ],
    ids=lambda value: value.do if isinstance(value, Rule) else value,
)
async def test_faults_on_the_way_are_retryable_and_counted(
    through: Kube, namespace: str, proxy: FaultProxy, calls: Calls, rule: Rule, code: str
) -> None:
    proxy.add(rule)
    with pytest.raises(Retryable):
        await through.get(SERVICES, namespace, "x") if rule.do != "cut" else await through.list(
            SERVICES, namespace
        )
    assert calls[-1][1] in {code, "404"}
    proxy.clear()
    assert await through.find(SERVICES, namespace, "x") is None


async def test_retry_after_reaches_the_caller(through: Kube, namespace: str, proxy: FaultProxy) -> None:
    proxy.add(Rule(do="answer", status=429, retry_after=7))
    with pytest.raises(Retryable) as caught:
        await through.get(SERVICES, namespace, "x")
    assert caught.value.retry_after_seconds == 7


async def test_a_write_that_lost_the_lease_meanwhile_is_not_sent(
    through: Kube, namespace: str, proxy: FaultProxy, calls: Calls
) -> None:
    """The Lease is lost after the time limit was computed: a stopped process, a slow connection."""
    answers = itertools.chain([5.0], itertools.repeat(None))

    def write_seconds() -> float:
        if (seconds := next(answers)) is None:
            raise NotLeader("late")
        return seconds

    through.limit_writes(write_seconds)
    with pytest.raises(NotLeader):
        await through.apply(_service(namespace))
    assert not calls
    assert not proxy.writes()
    through.limit_writes(lambda: 5.0)
    await through.apply(_service(namespace))
    assert [call.verb for call in proxy.writes()] == ["apply"]


async def test_a_write_takes_no_longer_than_the_lease_allows(
    through: Kube, namespace: str, proxy: FaultProxy
) -> None:
    proxy.add(Rule(verb="write", do="hang"))
    through.limit_writes(lambda: 0.2)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(Retryable):
        await through.apply(_service(namespace))
    assert 0.2 <= loop.time() - started < 0.9
