"""From nothing: helm install, kubectl apply, and a photograph's first answer."""

import json
import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from harness import gallery, pictures
from harness.client import Reply
from harness.e2e.agent import Agent, expected_landmarks
from harness.e2e.pose import Place, Pose
from harness.e2e.release import Release
from harness.kubernetes.api import Api
from harness.kubernetes.waiting import wait_until
from harness.recorder import RecordFigure
from harness.scene import SCENE, SCENE_GOLDEN
from harness.server import ROOT
from harness.stub import DETECT

pytestmark = pytest.mark.serial

EXAMPLE = ROOT / "examples" / "posecluster.yaml"
INSTALL_SECONDS, AVAILABLE_SECONDS = 60.0, 12.0
TOLERANCE = 0.03  # of x and y, as fractions of the picture
LEAST_RED = 100  # pixels: eleven joints and more are drawn


def apply_example(api: Api, place: Place) -> Pose:
    """As the README does it."""
    done = api.kubectl("apply", "--namespace", place.namespace, "--filename", str(EXAMPLE))
    assert "arning" not in done.stderr
    return Pose(api, place.namespace, "pose")


def wait_available(api: Api, pose: Pose) -> None:
    """As the README does it."""
    api.kubectl(
        "wait",
        "--namespace",
        pose.namespace,
        "--for=condition=Ready",
        f"pose/{pose.name}",
        "--timeout=60s",
    )


def first_answer(agent: Agent, pose: Pose) -> Reply:
    """Repeat the request until it gets 200: at first the Service's name may not resolve."""
    replies: list[Reply] = []

    def answered() -> bool:
        replies.append(agent.send("POST", pose.url + DETECT, body=pictures.built_in()))
        return replies[-1].status == 200

    wait_until(answered, INSTALL_SECONDS, "a first answer")
    return replies[-1]


def landmarks(reply: Reply) -> list[list[float]]:
    """x, y of the one person in an answer."""
    people = reply.json()["people"]
    assert len(people) == 1
    assert [len(people[0][key]) for key in ("landmarks", "world_landmarks")] == [33, 33]
    return [[mark["x"], mark["y"]] for mark in people[0]["landmarks"]]


def off(found: list[list[float]], expected: list[list[float]]) -> float:
    """The largest distance in x or y."""
    return float(np.abs(np.array(found) - np.array([one[:2] for one in expected])).max())


def reddish(data: bytes) -> int:
    """How many pixels of a picture are as red as a drawn joint."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    blue, green, red = (picture[:, :, index].astype(int) for index in range(3))
    return int(((red > 180) & (green < 90) & (blue < 90)).sum())


@pytest.mark.smoke
@pytest.mark.acceptance(20)
def test_from_nothing_to_an_answer(
    api: Api, installed: Release, make_place: Callable[[], Place], record_figure: RecordFigure
) -> None:
    installed.remove_all()
    place = make_place()
    agent = place.agent

    begin = time.monotonic()
    said = installed.install()
    ready = time.monotonic()
    pose = apply_example(api, place)
    wait_available(api, pose)
    available = time.monotonic()
    first = first_answer(agent, pose)
    end = time.monotonic()

    assert "PodSecurity" not in said
    assert off(landmarks(first), expected_landmarks()["full"]) <= TOLERANCE
    record_figure("helm install from nothing", ready - begin, bar="part of the next", unit="s")
    record_figure(
        "kubectl apply to Available", available - ready, bar=f"<= {AVAILABLE_SECONDS:.0f} s", unit="s"
    )
    record_figure(
        "from nothing to the first answer", end - begin, bar=f"<= {INSTALL_SECONDS:.0f} s", unit="s"
    )
    assert available - ready <= AVAILABLE_SECONDS
    assert end - begin <= INSTALL_SECONDS

    photographs(agent, pose)
    tested = installed.helm("test", "posecluster", "--logs", "--timeout", "60s")
    assert "Succeeded" in tested
    assert "PoseClusters are served\nthe operator is ready, 1 of it\n" in tested


def photographs(agent: Agent, pose: Pose) -> None:
    """A real photograph: one person as JSON, the same picture with them drawn, and MediaPipe's own."""
    url, picture = pose.url + DETECT, pictures.built_in()
    for form, magic in (("image/jpeg", b"\xff\xd8"), ("image/png", b"\x89PNG"), ("image/webp", b"RIFF")):
        drawn = agent.send("POST", url, body=picture, headers={"Accept": form})
        assert (drawn.status, drawn.headers["Content-Type"]) == (200, form)
        assert drawn.body.startswith(magic)
        assert reddish(drawn.body) >= reddish(picture) + LEAST_RED
    found = landmarks(agent.send("POST", url, body=gallery.picture(SCENE)))
    assert off(found, gallery.golden_points(SCENE_GOLDEN)) <= TOLERANCE
    nobody = agent.send("GET", f"{pose.url}/v1/model")
    assert nobody.json()["variant"] == "full"
    page = agent.send("GET", f"{pose.url}/openapi.json")
    assert json.loads(page.body)["openapi"].startswith("3.1")
