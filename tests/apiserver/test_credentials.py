"""The operator's access to the API server: credentials, and the check of its rights."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from harness.kubernetes.api import CRD_FILE, Api
from harness.kubernetes.client import open_kube
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.rights import NAME
from posecluster_operator.builders.kinds import SERVICES
from posecluster_operator.errors import Forbidden, InvalidSetting, Retryable
from posecluster_operator.kube.client import connect
from posecluster_operator.kube.kinds import POSECLUSTERS
from posecluster_operator.kube.preflight import (
    describe,
    missing_permissions,
    report_old_crd,
    wait_for_crd,
)

pytestmark = pytest.mark.apiserver


async def test_new_token_is_read_after_a_401(
    api: Api, namespace: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posecluster_operator.kube.credentials._SOONEST_RELOAD_SECONDS", 0.0)
    rule = {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}
    account = api.account(namespace, "some", [rule])
    kubeconfig = account.kubeconfig(proxy.url)
    right = kubeconfig.read_text(encoding="utf-8")
    kubeconfig.write_text(right.replace(account.token, "outdated"), encoding="utf-8")
    async with open_kube(kubeconfig) as kube:
        with pytest.raises(Retryable, match="401"):
            await kube.get(SERVICES, namespace, "x")
        kubeconfig.write_text(right, encoding="utf-8")
        assert await kube.find(SERVICES, namespace, "x") is None


@pytest.mark.parametrize("text", ["", "{}", "[1", "a: b", "current-context: none\ncontexts: 1\n"])
async def test_unusable_kubeconfig_is_a_wrong_setting(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidSetting, match="KUBECONFIG"):
        async with open_kube(path):
            pytest.fail("It was accepted")


async def test_neither_kubeconfig_nor_pod_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InvalidSetting, match="KUBECONFIG is unset"):
        await connect(request_seconds=1, connect_seconds=1, on_call=lambda *_: None)


async def test_preflight_finds_the_exact_rights_enough_and_names_each_that_is_missing(
    api: Api, namespace: str
) -> None:
    account = api.operator_account(namespaces=[namespace], lease_namespace=namespace)
    async with open_kube(account.kubeconfig()) as kube:
        await wait_for_crd(kube)
        assert "poseclusters" in await kube.plurals(POSECLUSTERS.api_version)

        async def missing(where: str, lease_name: str = NAME) -> str:
            return describe(
                await missing_permissions(
                    kube, namespaces=[where], lease_namespace=where, lease_name=lease_name
                )
            )

        for _ in range(100):  # until the authorizer knows the role
            if not await missing(namespace):
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("The table's rights are not enough")
        lease = "in namespace default (set by POSECLUSTER_OPERATOR_LEASE_NAMESPACE)"
        assert await missing("default") == (
            "everything in namespace default; "
            f"create leases.coordination.k8s.io {lease}; get, update leases.coordination.k8s.io {lease}"
        )
        assert (await missing(namespace, "another")).startswith("get, update leases"), "somebody else's"


@pytest.mark.parametrize(
    ("verbs", "lacking"), [(["create"], "patch"), (["patch"], "create"), (["create", "patch"], "")], ids=str
)
async def test_apply_of_something_new_needs_create_and_patch(
    api: Api, namespace: str, verbs: list[str], lacking: str
) -> None:
    rule = {"apiGroups": [""], "resources": ["services"], "verbs": verbs}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": namespace}}
    service["spec"] = {"ports": [{"port": 80}]}
    async with open_kube(api.account(namespace, "some", [rule]).kubeconfig()) as kube:
        if not lacking:
            await kube.apply(service)
            return
        with pytest.raises(Forbidden, match=f"cannot {lacking} resource"):
            await kube.apply(service)


async def test_an_older_crd_is_reported_with_the_fields_that_it_lacks(
    own_api: Callable[[], Api],
    make_namespace: Callable[..., str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = own_api()
    published = "/openapi/v3/apis/posecluster.io/v1alpha1"
    api.wait_until(lambda: '"drainSeconds":' in api.request("GET", published).text, 30, "published")
    older = yaml.safe_load(CRD_FILE.read_text(encoding="utf-8"))
    spec = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del spec["drainSeconds"], spec["limits"]["properties"]["hangMilliseconds"]
    del spec["topologySpreadConstraints"]["items"]["properties"]["nodeTaintsPolicy"]
    file = tmp_path / "older.yaml"
    file.write_text(yaml.safe_dump(older), encoding="utf-8")
    account = api.account(make_namespace(api), "some", [])  # without any right of its own
    async with open_kube(account.kubeconfig()) as kube:
        await report_old_crd(kube)
        assert caplog.records == []
        api.install_crd(file)
        api.wait_until(lambda: '"drainSeconds":' not in api.request("GET", published).text, 30, "published")
        await report_old_crd(kube)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert set(record.__dict__["fields"]["missing"].split(", ")) == {
        "spec.drainSeconds",
        "spec.limits.hangMilliseconds",
        "spec.topologySpreadConstraints.nodeTaintsPolicy",
    }
