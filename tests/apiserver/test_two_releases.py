"""Two releases of the chart on one API server: helm refuses a second one that would watch the same."""

from collections.abc import Iterator

import pytest

from harness import chart
from harness.chart import ChartError, Json
from harness.kubernetes.api import Api

NAMED = "operator.namespaces={one}"


def install(api: Api, namespace: str, release: str, *values: str) -> str:
    """What `helm install` would make of a release, asking this API server."""
    where = ["--namespace", namespace, "--kubeconfig", str(api.server.kubeconfig)]
    settings = [part for value in values for part in ("--set", value)]
    return chart.helm(
        "install", release, str(chart.CHART), "--dry-run=server", "--skip-crds", *where, *settings
    )


@pytest.fixture
def theirs(api: Api, namespace: str) -> Iterator[Json]:
    """What binds the operator of release `first` everywhere, as helm marks it."""
    objects = chart.render(release="first", namespace=namespace)
    binding = chart.one_of(objects, "ClusterRoleBinding")
    marks = {"meta.helm.sh/release-name": "first", "meta.helm.sh/release-namespace": namespace}
    binding = binding | {"metadata": binding["metadata"] | {"annotations": marks}}
    yield api.create(binding)
    api.delete("clusterrolebindings", None, binding["metadata"]["name"])


def test_a_second_release_for_all_namespaces_is_refused(api: Api, namespace: str, theirs: Json) -> None:
    with pytest.raises(ChartError, match=r"first-posecluster-operator watches all namespaces already.*set"):
        install(api, namespace, "second")
    # another name for its own objects is not refused; nor is a release that watches other namespaces
    assert "STATUS: pending-install" in install(api, namespace, "first", "fullnameOverride=other")
    assert "STATUS: pending-install" in install(api, namespace, "second", NAMED)


@pytest.mark.control
def test_control_the_first_release_is_not_refused(api: Api, namespace: str) -> None:
    assert "STATUS: pending-install" in install(api, namespace, "second")
