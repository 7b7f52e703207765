"""Check 40 on a real cluster: both images run as any user, with a read-only root and without a shell."""

from collections.abc import Callable

import pytest

from harness.e2e.cluster import INFERENCE_IMAGE, OPERATOR_IMAGE
from harness.e2e.pods import HARDENED, Inside, bare_pod_spec
from harness.e2e.pose import Place
from harness.kubernetes.api import Api
from harness.kubernetes.waiting import Json, wait_until
from harness.recorder import RecordFigure

pytestmark = pytest.mark.serial  # three servers start at once

VARIANTS = ("lite", "full", "heavy")
# a text file without execute permission covers each of them
SHELLS = ("/bin/sh", "/bin/bash")
STRANGER = 54_321  # not the image's user: no file of it may be needed either


def container(name: str, image: str, **more: object) -> Json:
    masks = [
        {"name": "no-shell", "mountPath": shell, "subPath": "text", "readOnly": True} for shell in SHELLS
    ]
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": HARDENED,
        "volumeMounts": [*masks, {"name": "tmp", "mountPath": "/tmp"}],
        **more,
    }


def make_pod(place: Place, *containers: Json, init: tuple[Json, ...] = ()) -> None:
    """A pod `one`, in which no shell can be run."""
    metadata = {"name": "no-shell", "namespace": place.namespace}
    data = {"text": "There is no shell here.\n"}
    place.api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    spec = bare_pod_spec(*containers) | {"initContainers": list(init), "restartPolicy": "Never"}
    spec["securityContext"] |= {"runAsUser": STRANGER, "runAsGroup": STRANGER}
    spec["volumes"] = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "no-shell", "configMap": {"name": "no-shell", "defaultMode": 0o444}},
    ]
    metadata = {"name": "one", "namespace": place.namespace}
    place.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def server(index: int, variant: str) -> Json:
    """A server of its own ports; ready only after a worker has found the person in the built-in picture."""
    values = {"MODEL_VARIANT": variant, "PORT": 8080 + index, "ADMIN_PORT": 9090 + index, "WORKERS": 1}
    return container(
        variant,
        INFERENCE_IMAGE,
        env=[{"name": f"POSECLUSTER_{key}", "value": str(value)} for key, value in values.items()],
        readinessProbe={"httpGet": {"path": "/readyz", "port": 9090 + index}, "periodSeconds": 1},
    )


@pytest.mark.acceptance(40)
def test_the_images_need_no_shell_no_user_and_no_writable_root(
    api: Api, make_place: Callable[[], Place], record_figure: RecordFigure
) -> None:
    place = make_place()
    init = (
        container("models", INFERENCE_IMAGE, args=["models", "verify", "--variant", "all"]),
        container("operator", OPERATOR_IMAGE, args=["--version"]),
    )
    make_pod(place, *(server(index, variant) for index, variant in enumerate(VARIANTS)), init=init)
    wait_until(Inside(api, place.namespace, "one").is_ready, 90, "all three servers ready")
    verified = api.kubectl("logs", "--namespace", place.namespace, "one", "--container", "models").stdout
    assert [line.split()[0] for line in verified.splitlines()] == [
        f"/models/pose_landmarker_{variant}.task" for variant in VARIANTS
    ]
    record_figure("models that detect without a shell", len(VARIANTS), bar="= 3", sample="both images")


@pytest.mark.acceptance(40)
@pytest.mark.control
def test_control_a_command_that_needs_a_shell_fails(api: Api, make_place: Callable[[], Place]) -> None:
    place = make_place()
    make_pod(place, container("shell", OPERATOR_IMAGE, command=["/bin/sh", "-c", "exit 0"]))

    def failed() -> str:
        statuses = api.get("pods", place.namespace, "one").get("status", {}).get("containerStatuses", ())
        return "".join(str(one["state"].get("terminated", {}).get("message", "")) for one in statuses)

    assert "permission denied" in wait_until(failed, 60, "the container has ended")
