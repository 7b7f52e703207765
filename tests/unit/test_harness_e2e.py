"""The pure parts of the end-to-end harness: which cluster may be touched, what the load pod judges."""

import copy
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.e2e.agent import EXPECTED, expected_landmarks, manifests
from harness.e2e.cluster import INFERENCE_IMAGE, OPERATOR_IMAGE, missing_images, others, unfit
from harness.e2e.collecting import folder_name
from harness.e2e.load_pod import Files, Run, send
from harness.e2e.nodes import Nodes
from harness.e2e.release import renumbered, state
from harness.e2e.users import Users
from harness.kubernetes.api import Api
from harness.kubernetes.apiserver import is_own_context, named_server
from harness.kubernetes.waiting import Json, wait_until
from harness.pictures import built_in
from harness.stand_ins import StandIns

NAMES = ("lite", "full", "heavy")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "picture.jpg").write_bytes(built_in())
    (tmp_path / "expected.json").write_bytes(EXPECTED.read_bytes())
    return Files(tmp_path)


def answer(variant: str = "lite") -> dict[str, Any]:
    marks = [{"x": x, "y": y} for x, y in expected_landmarks()[variant]]
    return {"model": {"variant": variant}, "people": [{"landmarks": marks}]}


@pytest.mark.parametrize(
    ("context", "allowed"),
    [
        ("posecluster-local", True),
        ("kind-posecluster", True),
        ("kind-posecluster-2", True),
        ("posecluster-local-2", False),
        ("kind-other", False),
        ("production", False),
        ("", False),
    ],
)
def test_only_clusters_for_tests_are_installed_into(context: str, allowed: bool) -> None:
    assert is_own_context(context) is allowed


def test_a_cluster_that_is_not_for_tests_gets_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca").touch()
    config = {
        "current-context": "production",
        "contexts": [{"name": "production", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [
            {"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority": "ca"}}
        ],
        "users": [{"name": "u", "user": {}}],
    }
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(file))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pytest.skip.Exception, match=r"not for tests \(production\)"):
        named_server(tmp_path, needs_own_context=True)


@pytest.mark.parametrize("variant", NAMES)
def test_an_answer_is_judged_by_every_landmark(files: Files, variant: str) -> None:
    right = answer(variant)
    assert files.is_right(json.dumps(right).encode())
    for spoil in (
        lambda one: one["people"].clear(),
        lambda one: one["people"].append(one["people"][0]),
        lambda one: one["people"][0]["landmarks"].pop(),
        lambda one: one["people"][0]["landmarks"][32].update(y=one["people"][0]["landmarks"][32]["y"] + 0.04),
        lambda one: one["people"][0]["landmarks"][0].update(x=0.0),
    ):
        wrong = copy.deepcopy(right)
        spoil(wrong)
        assert not files.is_right(json.dumps(wrong).encode())


def test_every_picture_is_different(files: Files) -> None:
    pictures = {files.unique(f"run-{index}") for index in range(20)}
    assert len(pictures) == 20
    assert all(one.startswith(b"\xff\xd8\xff\xfe") and one.endswith(built_in()[2:]) for one in pictures)


@pytest.fixture
def server() -> Iterator[str]:
    """Answers rightly, but for each request with a 3 in its number, and counts the requests."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            name = self.headers.get("X-Request-Id", "")
            is_wrong = "3" in name.rpartition("-")[2]
            body = b'{"reason": "queue_full"}' if is_wrong else json.dumps(answer()).encode()
            self.send_response(503 if is_wrong else 200)
            self.send_header("X-Request-Id", name)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  as it is called
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def order(url: str, **changes: Any) -> dict[str, Any]:
    made = {"url": url, "new": 1, "kept": 1, "every_seconds": 0.0, "retries": 0, "pause_seconds": 0.0}
    return made | {"timeout_seconds": 5, "headers": {}, "most": 20, "seconds": 30} | changes


def test_a_run_is_bounded_and_reports_failures(files: Files, server: str) -> None:
    run = Run("run", order(server), files)
    for thread in run._threads:
        thread.join(20)
    assert run.is_over()
    assert len(run.asked) == 20
    wrong = [one for one in run.asked if "3" in one["id"].rpartition("-")[2]]
    assert wrong
    assert {(one["status"], one["reason"], one["error"]) for one in wrong} == {(503, "queue_full", "")}
    assert [one["id"] for one in run.asked if not one["right"]] == [one["id"] for one in wrong]
    assert len({one["id"] for one in run.asked}) == 20


def test_retries_are_counted_and_refused_connections_reported(files: Files, server: str) -> None:
    run = Run("run", order("http://127.0.0.1:1", most=2, retries=1), files)
    wait_until(run.is_over, 20, "over")
    assert {(one["status"], one["tries"]) for one in run.asked} == {(0, 2)}
    found = send({"method": "POST", "url": server, "headers": {}, "body": "eA==", "timeout_seconds": 5})
    assert found["status"] == 200
    nobody = send(
        {"method": "GET", "url": "http://127.0.0.1:1", "headers": {}, "body": "", "timeout_seconds": 5}
    )
    assert (nobody["status"], "Refused" in nobody["error"]) == (0, True)


def test_a_run_says_whether_its_time_ended_it(files: Files, server: str) -> None:
    late = Run("late", order(server, every_seconds=0.05, seconds=0.2), files)
    wait_until(late.is_over, 20, "over")
    assert late.timed_out
    stopped = Run("stopped", order(server, every_seconds=0.05), files)
    stopped.stop()
    wait_until(stopped.is_over, 20, "over")
    assert not stopped.timed_out


def test_the_load_pod_needs_no_right_and_carries_its_own_code() -> None:
    files, pod = manifests("somewhere")
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    compile(files["data"]["load_pod.py"], "load_pod.py", "exec")
    assert "import harness" not in files["data"]["load_pod.py"]
    assert "from harness" not in files["data"]["load_pod.py"]


def test_a_missing_image_says_what_to_do() -> None:
    waiting = {"state": {"waiting": {"reason": "ErrImageNeverPull"}}}
    assert "make images" in state({"status": {"phase": "Pending", "containerStatuses": [waiting]}})
    assert "make images" not in state({"status": {"phase": "Running", "containerStatuses": [{"state": {}}]}})


class Cluster(Api):
    """Has these objects, by plural, and our namespace `e2e-1`."""

    def __init__(self, **items: list[dict[str, Any]]) -> None:
        self.items = {"namespaces": [{"metadata": {"name": "e2e-1"}}]} | items

    def list(self, resource: str, namespace: str | None = None, *, labels: str = "") -> list[Json]:
        return self.items.get(resource, [])

    def find(self, resource: str, namespace: str | None, name: str) -> Json | None:
        return {}

    def get(self, resource: str, namespace: str | None, name: str) -> Json:
        return self.items[resource][0]


def there(namespace: str, **notes: str) -> list[dict[str, Any]]:
    return [{"metadata": {"name": "one", "namespace": namespace, "annotations": notes}}]


def test_resources_of_other_installations_are_reported_with_what_to_do() -> None:
    assert others(Cluster(deployments=there("e2e-1"), poseclusters=there("e2e-1"))) == ""
    helms = there("posecluster", **{"meta.helm.sh/release-name": "pose"})
    away = "kubectl delete poseclusters --all --all-namespaces"
    assert f"{away}; helm uninstall pose -n posecluster" in others(Cluster(deployments=helms))
    assert f"{away}; kubectl delete -f" in others(Cluster(deployments=there("posecluster")))
    assert f"are in default. Delete them first: {away}" in others(Cluster(poseclusters=there("default")))


def node(*names: str, more: int = 0, ready: str = "True", **spec: object) -> dict[str, Any]:
    images = [{"names": [name]} for name in names] + [{"names": None}] * more
    conditions = [{"type": "Ready", "status": ready}]
    return {"metadata": {"name": "one"}, "spec": spec, "status": {"images": images, "conditions": conditions}}


def test_images_that_a_node_lacks_are_named() -> None:
    both = (f"docker.io/library/{INFERENCE_IMAGE}", f"localhost/{OPERATOR_IMAGE}")
    assert missing_images([node(*both, more=3)]) == []
    assert missing_images([node(INFERENCE_IMAGE, OPERATOR_IMAGE)]) == []
    assert missing_images([node(*both), node(both[0])]) == [OPERATOR_IMAGE]
    assert missing_images([node(f"{INFERENCE_IMAGE}-1", both[1])]) == [INFERENCE_IMAGE]
    assert missing_images([node(more=49)]) == [INFERENCE_IMAGE, OPERATOR_IMAGE]
    assert missing_images([node(more=50)]) == [], "the list may be cut"


def test_nodes_that_cannot_run_the_tests_are_reported_with_what_to_do() -> None:
    """The control plane of a kind cluster has no images and needs none."""
    both = (INFERENCE_IMAGE, OPERATOR_IMAGE)
    tainted: Json = {"taints": [{"effect": "NoSchedule"}]}
    preferred: Json = {"taints": [{"effect": "PreferNoSchedule"}]}
    assert unfit([node(*both), node(**tainted)]) == ""
    assert unfit([node(*both, **preferred)]) == ""
    assert "nodes are not Ready: one" in unfit([node(*both), node(*both, ready="Unknown")])
    for none in ([], [node(*both, **tainted)]):
        assert "no node of the cluster of KUBECONFIG runs pods" in unfit(none)
    assert f"{OPERATOR_IMAGE}: make kind-images, or" in unfit([node(*both), node(INFERENCE_IMAGE)])


def test_only_a_node_of_kind_is_frozen_by_the_engine_that_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = StandIns(tmp_path)
    programs.add("podman")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("STAND_INS_LOG", str(programs.log))
    nodes = Nodes(Cluster(nodes=[node(providerID="kind://podman/posecluster/one")]))
    assert nodes.are_of_kind()
    with nodes.frozen("one"):
        assert programs.calls == ["podman inspect one", "podman pause one"]
    assert programs.calls[-1] == "podman unpause one"
    for provider in ("kind://docker/posecluster/one", "k3s://one"):
        other = Nodes(Cluster(nodes=[node(providerID=provider)]))
        with pytest.raises(pytest.skip.Exception, match="open: "), other.frozen("one"):
            pass
    assert not Nodes(Cluster(nodes=[node()])).are_of_kind()
    assert nodes.need(1) == ["one"]
    with pytest.raises(pytest.skip.Exception, match="open: this test needs 2 nodes"):
        nodes.need(2)


def test_a_chart_with_another_version_number_is_otherwise_the_same(tmp_path: Path) -> None:
    copied = renumbered(tmp_path, "0.0.9")
    assert yaml.safe_load((copied / "Chart.yaml").read_text(encoding="utf-8"))["version"] == "0.0.9"
    assert (copied / "templates").is_dir()


def test_a_folder_has_the_tests_name() -> None:
    assert folder_name("tests/e2e/test_x.py::test_y[a b, c]") == "test_x.py-test_y-a-b-c-"


def test_users_are_counted_one_after_the_other(tmp_path: Path) -> None:
    """Each change reads what the one before it has written, also while that one is still at work."""
    users = Users(tmp_path, "release")
    with ThreadPoolExecutor(1) as pool:
        with users.change(+1) as first:
            second = pool.submit(users.change(+1).__enter__)
            assert first == 1
            assert not wait({second}, timeout=0.1).done
        assert second.result(10) == 2
