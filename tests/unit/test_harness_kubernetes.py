"""The pure parts of the apiserver harness: reading calls, rules, rollouts, foreign clusters, logs."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.kubernetes.apiserver import find_server, may_touch
from harness.kubernetes.calls import Call, Rule, read_call
from harness.kubernetes.certificates import make_certificates, write_kubeconfig
from harness.kubernetes.operator import unwanted
from harness.kubernetes.player import loopback_address
from harness.kubernetes.pod_status import Behaviour, image_behaviour, pod_status
from harness.kubernetes.rollout import (
    HASH_LABEL,
    Progress,
    deployment_status,
    is_ready,
    plan,
    same_status,
    template_hash,
)
from harness.kubernetes.waiting import is_settled, posecluster, wait_until

Json = dict[str, Any]
NOW = "2026-01-01T00:00:00Z"
APPLY = {"Content-Type": "application/apply-patch+yaml"}


def call(method: str, path: str, query: Json | None = None, headers: Json | None = None) -> Call:
    return read_call(1.0, method, path, query or {}, headers or {}, door="a")


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (call("GET", "/api/v1/namespaces/n/pods"), "list pods n"),
        (call("GET", "/api/v1/pods", {"watch": "true"}), "watch pods "),
        (call("GET", "/apis/apps/v1/namespaces/n/deployments/d"), "get deployments n/d"),
        (call("PATCH", "/apis/apps/v1/namespaces/n/deployments/d", headers=APPLY), "apply deployments n/d"),
        (call("PATCH", "/apis/a/v1/namespaces/n/poseclusters/p/status"), "patch poseclusters/status n/p"),
        (call("POST", "/apis/apps/v1/namespaces/n/deployments"), "create deployments n"),
        (call("PUT", "/apis/coordination.k8s.io/v1/namespaces/n/leases/l"), "update leases n/l"),
        (call("DELETE", "/api/v1/namespaces/n/services/s"), "delete services n/s"),
        (call("DELETE", "/api/v1/namespaces/n/services"), "deletecollection services n"),
        (call("GET", "/api/v1/namespaces/n"), "get namespaces n"),
        (call("PUT", "/api/v1/namespaces/n/finalize"), "update namespaces/finalize n"),
        (call("GET", "/apis/apps/v1"), "get  "),
        (call("GET", "/readyz"), "get  "),
    ],
)
def test_a_call_is_read_from_its_request(made: Call, expected: str) -> None:
    assert str(made) == f"{expected} -> 0"


def test_the_caller_is_the_tokens_subject() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "system:serviceaccount:n:a"}).encode())
    token = f"Bearer h.{claims.decode().rstrip('=')}.s"
    assert call("GET", "/", headers={"Authorization": token}).caller == "system:serviceaccount:n:a"
    assert call("GET", "/", headers={"Authorization": "Bearer nonsense"}).caller == ""
    assert call("GET", "/", headers={"Authorization": "Bearer a.!.c"}).caller == ""


def test_rules_choose_calls_by_pattern_and_count() -> None:
    write = call("POST", "/apis/apps/v1/namespaces/n/deployments")
    read = call("GET", "/apis/apps/v1/namespaces/n/deployments/d")
    review = call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
    assert [Rule(verb="write").describes(one) for one in (write, read, review)] == [True, False, False]
    assert [Rule(verb="read").describes(one) for one in (write, read, review)] == [False, True, False]
    assert Rule(verb="create|get", resource="pods|deploy*", name="d").describes(read)
    assert not Rule(door="b").describes(read)

    second, first_two = Rule(nth=2), Rule(times=2)
    calls = [call("GET", "/api/v1/pods") for _ in range(3)]
    assert [second.take(one) for one in calls] == [False, True, False]
    assert [first_two.take(one) for one in calls] == [True, True, False]
    assert first_two.hits == calls[:2]
    once = Rule()
    assert [once.take(write), once.take(write)] == [True, False]  # a watch meets a rule once


@pytest.mark.parametrize(
    ("context", "url", "nodes", "allowed"),
    [
        ("posecluster-local", "https://10.0.0.1:6443", 1, True),
        ("kind-posecluster-2", "https://127.0.0.1:6443", 3, True),
        ("anything", "https://127.0.0.1:6443", 0, True),
        ("anything", "https://127.0.0.1:6443", 1, False),
        ("anything", "https://10.0.0.1:6443", 0, False),
        ("kind-other", "https://127.0.0.1:6443", 1, False),
        ("posecluster-local-2", "https://10.0.0.1:6443", 1, False),
    ],
)
def test_clusters_that_are_not_for_tests_are_never_used(
    context: str, url: str, nodes: int, allowed: bool
) -> None:
    assert may_touch(context=context, url=url, nodes=nodes) is allowed


def test_a_missing_kubeconfig_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a cluster's end, in a shell that still has the variable."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "gone"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="KUBECONFIG is not a file"), find_server():
        pass


def test_a_kubeconfig_without_a_cluster_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As kind leaves it when its last cluster is deleted; or the cluster is stopped."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    file = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(file))
    for text in ("", 'current-context: ""\n'):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(pytest.skip.Exception, match=r"no current context.*make kind-up"), find_server():
            pass
    make_certificates(tmp_path)
    ca_file = tmp_path / "ca.crt"
    write_kubeconfig(file, server="https://127.0.0.1:1", ca_file=ca_file, user={"token": "none"})
    with pytest.raises(pytest.skip.Exception, match=r"does not answer.*start its cluster"), find_server():
        pass


def deployment(image: str = "a:1", replicas: int = 4) -> Json:
    container = {"name": "inference", "image": image}
    return {
        "metadata": {"generation": 3},
        "spec": {
            "replicas": replicas,
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "template": {"metadata": {"labels": {}}, "spec": {"containers": [container]}},
        },
    }


def pod(number: int, of: Json, *, ready: bool) -> Json:
    made = {
        "metadata": {
            "name": f"p{number}",
            "namespace": "n",
            "uid": f"u{number}",
            "labels": {HASH_LABEL: template_hash(of)},
            "creationTimestamp": NOW,
        },
        "spec": of["spec"]["template"]["spec"],
    }
    behaviour = Behaviour.READY if ready else Behaviour.NEVER_READY
    return made | {"status": pod_status(made, behaviour, step=1, now=NOW, address="127.0.0.9")}


def roll(pods: list[Json], of: Json, *, ready: bool) -> Iterator[list[Json]]:
    """The pods after each step until nothing is left to do."""
    for number in range(100, 200):
        steps = plan(of, pods)
        if not steps.create and not steps.delete:
            return
        pods = [one for one in pods if one not in steps.delete]
        pods += [pod(number * 10 + index, of, ready=ready) for index in range(steps.create)]
        yield pods
    raise AssertionError("never settles")


def test_a_rollout_surges_and_never_falls_below_its_size() -> None:
    old, new = deployment("a:1"), deployment("a:2")
    steps = list(roll([pod(number, old, ready=True) for number in range(4)], new, ready=True))
    assert all(4 <= len(pods) <= 5 for pods in steps)
    assert {one["metadata"]["labels"][HASH_LABEL] for one in steps[-1]} == {template_hash(new)}
    assert len(steps[-1]) == 4


def test_a_bad_rollout_stops_with_the_old_pods_serving() -> None:
    old, bad = deployment("a:1"), deployment("a:bad")
    *_, stuck = roll([pod(number, old, ready=True) for number in range(4)], bad, ready=False)
    assert sum(map(is_ready, stuck)) == 4
    *_, healed = roll(stuck, deployment("a:3"), ready=True)
    assert len(healed) == 4
    assert all(map(is_ready, healed))


def test_scaling_down_deletes_the_pod_with_the_lowest_deletion_cost() -> None:
    pods = [pod(number, deployment(), ready=True) for number in range(4)]
    pods[2]["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
    assert plan(deployment(replicas=3), pods).delete == (pods[2],)


def test_a_deployments_status_says_how_far_it_is() -> None:
    item = deployment(replicas=2)
    begun = deployment_status(item, [], Progress("rs"), now=NOW)
    assert begun["replicas"] is None
    assert begun["unavailableReplicas"] == 2
    assert [one["reason"] for one in begun["conditions"]] == [
        "MinimumReplicasUnavailable",
        "ReplicaSetUpdated",
    ]
    late = deployment_status(item, [], Progress("rs", late=True, failure="no"), now=NOW)
    assert [one["reason"] for one in late["conditions"][1:]] == ["ProgressDeadlineExceeded", "FailedCreate"]
    ready = [pod(number, item, ready=True) for number in range(2)]
    done = deployment_status(item, ready, Progress("rs", late=True), now=NOW)
    assert done["conditions"][1]["reason"] == "NewReplicaSetAvailable"
    written = item | {"status": {key: value for key, value in done.items() if value is not None}}
    assert same_status(written, deployment_status(written, ready, Progress("rs"), now="later"))
    assert not same_status(item, done)


def test_simulated_pods_behave_as_their_image_says() -> None:
    assert image_behaviour("a/b:crash") is Behaviour.CRASH
    assert image_behaviour("a/b:1.2") is Behaviour.READY
    assert image_behaviour("a/b") is Behaviour.READY
    made = pod(1, deployment("reg.test/pose:missing"), ready=False)
    status = pod_status(made, Behaviour.IMAGE_MISSING, step=2, now=NOW, address="")
    assert status["containerStatuses"][0]["state"]["waiting"]["message"].startswith(
        'Back-off pulling image "reg.test/pose:missing": ErrImagePull: failed to pull'
    )
    assert loopback_address("a") != loopback_address("b")


def test_logs_must_have_no_traceback_and_no_token() -> None:
    token = "header.eyJzdWIiOiJ4In0.signature"
    assert unwanted("INFO Applied child", secrets=[token]) == ""
    assert unwanted("Traceback (most recent call last)") == "'Traceback'"
    assert unwanted("Traceback", allowed=["Traceback"]) == ""
    assert unwanted("sent ... .signature", secrets=[token]) == "a token"
    assert unwanted("Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.x") == "something like a token"


def test_settled_means_judged_ready_and_of_the_wanted_size() -> None:
    item = posecluster("demo", "n", replicas=2)
    item["metadata"]["generation"] = 2
    available = {"type": "Available", "status": "True", "observedGeneration": 2}
    complete = available | {"type": "Progressing", "reason": "RolloutComplete"}
    both = [available, complete]
    status = {"observedGeneration": 2, "replicas": 2, "readyReplicas": 2, "desiredReplicas": 2}
    assert is_settled(item | {"status": status | {"conditions": both}})
    assert not is_settled(item | {"status": status | {"conditions": [available]}})
    assert not is_settled(item | {"status": status | {"readyReplicas": 1, "conditions": both}})
    assert not is_settled(item | {"status": status | {"observedGeneration": 1, "conditions": both}})
    assert not is_settled(item)


def test_waiting_ends() -> None:
    answers = iter([None, "", "found"])
    assert wait_until(lambda: next(answers), 5, "there") == "found"
    with pytest.raises(AssertionError, match=r"not there after 0\.1 s"):
        wait_until(lambda: None, 0.1, "there")
