"""The diagnosis of a stuck rollout: messages of Kubernetes 1.34, and equal text for equal facts."""

from typing import Any

import pytest

from harness.kube_objects import (
    IMAGE,
    POD,
    container,
    deployment,
    pod,
    pod_condition,
    terminated,
    waiting,
)
from posecluster_operator.reconcile.rollout_diagnosis import Failure, find_failure
from posecluster_operator.resource.reasons import ProgressingReason as Reason

pytestmark = pytest.mark.unit

NOT_FOUND = (
    f'rpc error: code = NotFound desc = failed to pull and unpack image "{IMAGE}": failed to resolve '
    f'reference "{IMAGE}": {IMAGE}: not found'
)
PULL_TEXT = f"ErrImagePull: {NOT_FOUND.partition(' desc = ')[2]}"
BACK_OFF = (
    "back-off 40s restarting failed container=inference "
    f"pod={POD}_default(11111111-2222-3333-4444-555555555555)"
)
LOG = (
    "2026-11-22T22:13:51.123Z INFO Starting version=0.1.0\n"
    "posecluster-inference: POSECLUSTER_WORKERS='x': must be a whole number from 0 to 64\n"
    "resource_tracker: a line that comes after\n"
)
CRASH = terminated("Error", 1, LOG)
CRASH_TEXT = (
    "CrashLoopBackOff: Error, exit code 1: posecluster-inference: POSECLUSTER_WORKERS='x': "
    "must be a whole number from 0 to 64"
)


def find(*pods: dict[str, Any]) -> Failure | None:
    return find_failure(deployment(), pods, token_secret=None)


# --- one container ---

SAME_TEXT = {
    "pull": (
        Reason.IMAGE_PULL_BACK_OFF,
        PULL_TEXT,
        [
            container(state=waiting("ErrImagePull", NOT_FOUND)),
            container(
                state=waiting(
                    "ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: {NOT_FOUND}'
                )
            ),
        ],
    ),
    "crash": (
        Reason.CRASH_LOOP_BACK_OFF,
        CRASH_TEXT,
        [
            container(state=CRASH),
            container(last=CRASH, restarts=1),
            container(state=waiting("CrashLoopBackOff", BACK_OFF), last=CRASH, restarts=1),
            container(
                state=waiting("CrashLoopBackOff", BACK_OFF.replace("40s", "5m0s")), last=CRASH, restarts=7
            ),
        ],
    ),
    "start": (
        Reason.CREATE_CONTAINER_ERROR,
        'RunContainerError: failed to create containerd task: task id: exec: "x": not found',
        [
            container(
                state=waiting(
                    "RunContainerError",
                    f'failed to create containerd task: task {"cd" * 32}: exec: "x": not found',
                )
            ),
            container(
                state=waiting("CrashLoopBackOff", BACK_OFF),
                last=terminated(
                    "StartError",
                    128,
                    f'failed to create containerd task: task {"ef" * 32}: exec: "x": not found',
                ),
                restarts=2,
            ),
        ],
    ),
}


@pytest.mark.parametrize("name", SAME_TEXT)
def test_alternating_container_states_give_one_text(name: str) -> None:
    reason, message, states = SAME_TEXT[name]
    for state in states:
        assert find(pod(state)) == Failure(reason, message)


ONE = {
    "name of the image": (
        container(
            state=waiting(
                "InvalidImageName", 'Failed to apply default image tag "a:::": invalid reference format'
            )
        ),
        Reason.IMAGE_PULL_BACK_OFF,
        'InvalidImageName: Failed to apply default image tag "a:::": invalid reference format',
    ),
    "never pulled": (
        container(
            state=waiting(
                "ErrImageNeverPull", f'Container image "{IMAGE}" is not present with pull policy of Never'
            )
        ),
        Reason.IMAGE_PULL_BACK_OFF,
        f'ErrImageNeverPull: Container image "{IMAGE}" is not present with pull policy of Never',
    ),
    "back-off of an older kubelet": (
        container(state=waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}"')),
        Reason.IMAGE_PULL_BACK_OFF,
        f'ErrImagePull: Back-off pulling image "{IMAGE}"',
    ),
    "config": (
        container(state=waiting("CreateContainerConfigError", 'secret "x" not found')),
        Reason.CREATE_CONTAINER_ERROR,
        'CreateContainerConfigError: secret "x" not found',
    ),
    "memory": (
        container(state=waiting("CrashLoopBackOff", BACK_OFF), last=terminated("OOMKilled", 137)),
        Reason.CRASH_LOOP_BACK_OFF,
        "CrashLoopBackOff: OOMKilled, exit code 137: raise spec.resources.limits.memory, "
        "or lower spec.workersPerPod",
    ),
    "no words": (
        container(state=waiting("CrashLoopBackOff", BACK_OFF), last=terminated("Completed", 0)),
        Reason.CRASH_LOOP_BACK_OFF,
        "CrashLoopBackOff: Completed, exit code 0",
    ),
    "log line": (
        container(last=terminated("Error", 1, "2026-11-22T22:13:51.123Z ERROR Lost 10.1.2.3:99 pid=41\n\n")),
        Reason.CRASH_LOOP_BACK_OFF,
        "CrashLoopBackOff: Error, exit code 1: ERROR Lost address pid",
    ),
    "back-off without an end": (
        container(state=waiting("CrashLoopBackOff", BACK_OFF)),
        Reason.CRASH_LOOP_BACK_OFF,
        "CrashLoopBackOff",
    ),
    "somebody's sidecar": (
        container(state=waiting("CrashLoopBackOff", BACK_OFF), last=terminated("Error", 2), name="proxy"),
        Reason.CRASH_LOOP_BACK_OFF,
        "container proxy: CrashLoopBackOff: Error, exit code 2",
    ),
}


@pytest.mark.parametrize("name", ONE)
def test_a_failing_container_is_reported_with_its_own_message(name: str) -> None:
    state, reason, message = ONE[name]
    assert find(pod(state)) == Failure(reason, message)


def test_an_init_container_counts_until_it_is_done() -> None:
    done = container(state=terminated("Completed", 0), name="setup")
    failed = container(state=terminated("Error", 3), name="setup")
    assert find(pod(init=[done])) is None
    found = find(pod(init=[failed]))
    assert found is not None
    assert found.message == "container setup: CrashLoopBackOff: Error, exit code 3"


# --- which pods count ---

BROKEN = container(state=waiting("ErrImagePull", NOT_FOUND))
NO_NODE = pod(conditions=[pod_condition("PodScheduled", "False", "Unschedulable", "no nodes available")])


@pytest.mark.parametrize(
    "ignored",
    [
        pod(BROKEN, revision="older"),
        pod(BROKEN, deleting=True),
        pod(BROKEN, phase="Failed"),
        pod(BROKEN, phase="Succeeded"),
        pod(BROKEN, name="other-pose-5d8f9c7b6d-x2k4q"),
        pod(container(ready=True, started=True, last=CRASH, restarts=3), phase="Running"),
        pod(container(ready=False, started=True, last=CRASH, restarts=1), phase="Running"),
        pod(BROKEN, conditions=[pod_condition("Ready", "True")]),
        pod(container(state=waiting("ContainerCreating"))),
        pod(container(state=waiting("PodInitializing"))),
        pod(conditions=[pod_condition("PodScheduled", "False", "SchedulingGated", "gated")]),
        {"metadata": {"name": POD}},
    ],
)
def test_pods_that_say_nothing_about_this_revision(ignored: dict[str, Any]) -> None:
    assert find(ignored) is None
    found = find(ignored, pod(BROKEN))
    assert found is not None
    assert found.message == PULL_TEXT


def test_the_order_of_pods_does_not_change_the_reported_failure() -> None:
    pods = [
        pod(BROKEN),
        pod(container(state=CRASH)),
        NO_NODE,
        pod(container(last=terminated("Error", 9))),
    ]
    assert find(*pods) == find(*reversed(pods)) == Failure(Reason.IMAGE_PULL_BACK_OFF, PULL_TEXT)
    assert find(*pods[1:]) == find(*reversed(pods[1:])) == Failure(Reason.CRASH_LOOP_BACK_OFF, CRASH_TEXT)
