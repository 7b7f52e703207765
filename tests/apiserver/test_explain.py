"""`posecluster-operator explain`: with the operator's figures, however it is reached, and without them."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.loaded_pods import LoadedPods
from harness.kubernetes.operator import OperatorProcess, StartOperator
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import Json, posecluster, wait_until
from harness.server import ROOT

AUTO = {"mode": "Auto", "minReplicas": 1, "maxReplicas": 6}
READ = [{"apiGroups": ["posecluster.io"], "resources": ["poseclusters"], "verbs": ["get"]}]
LEASE = [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get"]}]


@dataclass(frozen=True)
class Said:
    """What the command printed, its lines joined; and as it came."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        return " ".join(self.out.split())


def explain(kubeconfig: Path, *arguments: str, **settings: str) -> Said:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("POSECLUSTER_")}
    variables |= {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT / "operator")}
    variables |= {f"POSECLUSTER_OPERATOR_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-W", "error", "-m", "posecluster_operator", "explain", *arguments]
    done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


def refused(said: Said) -> str:
    """The one line on stderr."""
    assert (said.code, said.out) == (1, "")
    assert said.err.count("\n") == 1
    return said.err


@pytest.fixture
def pods(player: Player, namespace: str) -> Iterator[LoadedPods]:
    with LoadedPods(player, namespace) as loaded:
        yield loaded


@pytest.fixture
def demo(api: Api, namespace: str, operator: OperatorProcess, pods: LoadedPods) -> Json:
    """A PoseCluster that the operator has measured."""
    pods.of("demo").change(per_second=6.0)
    api.create(posecluster("demo", namespace, scaling=AUTO))
    api.wait_condition(namespace, "demo", "ScalingActive", status="True")
    return api.get("poseclusters", namespace, "demo")


def test_explain_shows_the_operators_numbers_and_the_resources_last_change(
    api: Api, namespace: str, operator: OperatorProcess, pods: LoadedPods, demo: Json
) -> None:
    pods.of("demo").per_second = 60.0
    wait_until(lambda: api.get("poseclusters", namespace, "demo")["status"].get("lastScaling"), 20, "scaled")
    said = explain(api.server.kubeconfig, "demo", "-n", namespace, "--operator", operator.url)
    assert (said.code, said.err) == (0, "")
    size = api.get("deployments", namespace, "demo-pose")["spec"]["replicas"]
    assert said.out.startswith(f"posecluster {namespace}/demo has {size} pods (bounds 1-6): ")
    asked = re.search(r"Load ([\d.]+) requests/s in the last 20 s; 0\.0/s refused now; (\d+) ms", said.words)
    assert asked, said.out
    assert 6.0 < float(asked[1]) <= 66.0
    assert 40 <= int(asked[2]) <= 60
    for label in ("Why", "To do", "Objective", "Needed now", "Held", "Pods", "Next", "Last change"):
        assert re.search(rf"^  {label} ", said.out, re.MULTILINE), label
    assert "Missing" not in said.out
    last = api.get("poseclusters", namespace, "demo")["status"]["lastScaling"]
    assert f"from {last['from']} to {last['to']}: {last['reason']}, {last['message']}" in said.words


def test_without_the_operators_answer_explain_uses_the_resource(
    api: Api, namespace: str, operator: OperatorProcess, demo: Json
) -> None:
    admin = api.server.kubeconfig
    lost = explain(admin, "demo", "-n", namespace)  # its Lease is in `namespace`
    assert (lost.code, lost.err) == (0, "")
    assert lost.out.startswith(f"posecluster {namespace}/demo has ")
    assert "requests/s; " in lost.words
    missing = "Missing the operator's figures: "
    assert f"{missing}there is no Lease default/posecluster-operator: set the" in lost.words

    # the harness's operator is not a pod
    podless = explain(admin, "demo", "-n", namespace, "--lease-namespace", namespace)
    assert podless.code == 0
    assert re.search(rf"{missing}.* responded with 404: pods \S+ not found", podless.words)

    account = api.account(namespace, "reader", READ + LEASE)
    unprivileged = explain(account.kubeconfig(), "demo", "-n", namespace, "--lease-namespace", namespace)
    assert unprivileged.code == 0
    assert re.search(
        rf"{missing}.* responded with 403: .* cannot get resource \S*pods/proxy", unprivileged.words
    )
    assert account.token not in unprivileged.out

    closed = explain(admin, "demo", "-n", namespace, "--operator", f"http://127.0.0.1:{closed_port()}")
    assert closed.code == 0
    assert f"{missing}http://127.0.0.1:" in closed.words


def test_the_holder_of_the_lease_is_asked_through_the_api_server(
    api: Api, namespace: str, start_operator: StartOperator, pods: LoadedPods
) -> None:
    address = outside_address()
    port = closed_port()
    start_operator(identity="operator-0", host="0.0.0.0", port=port)
    container = {
        "name": "operator",
        "image": "example.test/operator:1",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "operator-0", "namespace": namespace},
        "spec": {"containers": [container], "securityContext": security},
    }
    api.create(pod)
    api.patch_status("pods", namespace, "operator-0", {"podIP": address, "podIPs": [{"ip": address}]})
    pods.of("demo")
    api.create(posecluster("demo", namespace, scaling=AUTO))
    api.wait_condition(namespace, "demo", "ScalingActive", status="True")
    where = {"lease_namespace": namespace, "port": str(port)}
    said = explain(api.server.kubeconfig, "demo", "-n", namespace, **where)
    assert "Missing" not in said.out
    assert "Needed now" in said.out


def test_fixed_and_paused_poseclusters_are_explained_without_the_operator(
    api: Api, namespace: str, operator: OperatorProcess, player: Player
) -> None:
    api.create(posecluster("demo", namespace, replicas=2))
    api.wait_ready(namespace, "demo")
    said = explain(api.server.kubeconfig, "demo", "-n", namespace)
    assert said.out.startswith(f"posecluster {namespace}/demo has 2 pods (fixed): FixedSize\n")
    assert "Missing" not in said.out
    api.patch(
        "poseclusters", namespace, "demo", {"metadata": {"annotations": {"posecluster.io/paused": "true"}}}
    )
    assert ": Paused\n" in explain(api.server.kubeconfig, "demo", "-n", namespace).out


def test_errors_of_explain_are_one_line(api: Api, namespace: str, tmp_path: Path) -> None:
    admin = api.server.kubeconfig
    assert f"there is no PoseCluster {namespace}/nobody" in refused(explain(admin, "nobody", "-n", namespace))
    assert "'../x' is not a valid name" in refused(explain(admin, "../x"))
    assert "must begin with http" in refused(explain(admin, "demo", "--operator", "localhost:9091"))
    other = api.account(namespace, "other")
    line = refused(explain(other.kubeconfig(), "demo", "-n", namespace))
    assert "cannot get resource" in line
    away = kubeconfig(tmp_path, f"http://127.0.0.1:{closed_port()}", "default")
    assert "the API server cannot be reached" in refused(explain(away, "demo"))
    assert "KUBECONFIG=" in refused(explain(tmp_path / "none", "demo"))


def test_without_the_api_server_explain_still_gets_the_operators_answer(
    namespace: str, operator: OperatorProcess, demo: Json, tmp_path: Path
) -> None:
    away = kubeconfig(tmp_path, f"http://127.0.0.1:{closed_port()}", namespace)
    said = explain(away, "demo", "--operator", operator.url)  # the namespace is the context's
    assert said.code == 0
    assert said.out.startswith(f"posecluster {namespace}/demo has ")
    assert "Missing the status of the PoseCluster: get poseclusters.posecluster.io" in said.words
    line = refused(explain(away, "other", "--operator", operator.url))
    assert "cannot be reached" in line
    assert "responded with 404: This operator does not scale a PoseCluster" in line


def test_nothing_in_a_status_moves_the_cursor(api: Api, namespace: str, proxy: FaultProxy) -> None:
    api.create(posecluster("demo", namespace, scaling=AUTO))
    last = {"time": "2026-01-01T00:00:00Z", "from": 1, "to": 2, "reason": "Burst", "message": "a\x1b[2Jb"}
    api.patch_status("poseclusters", namespace, "demo", {"lastScaling": last})
    said = explain(api.server.kubeconfig, "demo", "-n", namespace)
    assert "no operator has reconciled it yet" in said.out
    assert "Burst, a?[2Jb" in said.words


def kubeconfig(folder: Path, server: str, namespace: str) -> Path:
    """One whose context names a namespace."""
    path = folder / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": server}}],
        "users": [{"name": "x", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x", "namespace": namespace}}],
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def outside_address() -> str:
    """An address of this machine that is not a loopback address: API servers proxy only to those."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unsent:
        try:
            unsent.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback, and an API server proxies to no such pod")
        address: str = unsent.getsockname()[0]
    return address
