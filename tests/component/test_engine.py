"""The MediaPipe engine: equal to plain MediaPipe, right on golden pictures, clear errors when it cannot run.

"Plain" means as documented, in a separate process: `import mediapipe`, OpenCV, default options.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import gallery, pictures
from harness.plain_mediapipe import detect_plain
from posecluster_inference import pictures as picture_checks
from posecluster_inference.errors import InvalidSetting, ModelError
from posecluster_inference.worker import codec, engines, render
from posecluster_inference.worker.engines import EngineConfig, EngineInfo
from posecluster_inference.worker.engines.mediapipe_import import modules
from posecluster_inference.worker.engines.mediapipe_pose import MediaPipePose
from posecluster_inference.worker.tasks import pose
from posecluster_inference.worker.tasks.pose import Person

pytestmark = pytest.mark.component
MAX_PIXELS, MAX_SIDE = 25_000_000, 16_384
MODEL_FILE = "pose_landmarker_full.task"
GOLDEN_TOLERANCE = 0.03  # of x and y, as fractions: tests/golden/mediapipe.json


@pytest.fixture(scope="module")
def model() -> Path:
    path = Path(os.environ.get("POSECLUSTER_MODEL_DIR") or pictures.ROOT / "models") / MODEL_FILE
    if not path.is_file():
        pytest.skip(f"no model: {path} is missing (make models)")
    return path


def config(model: Path, max_people: int = 1) -> EngineConfig:
    return EngineConfig(task="pose", variant="full", model_path=model, max_people=max_people)


@pytest.fixture(scope="module")
def loaded(model: Path) -> Iterator[tuple[MediaPipePose, EngineInfo]]:
    codec.configure(max_pixels=MAX_PIXELS, max_side=MAX_SIDE)
    engine = MediaPipePose()
    info = engine.load(config(model))
    engine.warm_up(decode(pictures.built_in()))
    yield engine, info
    engine.close()


@pytest.fixture(scope="module")
def engine(loaded: tuple[MediaPipePose, EngineInfo]) -> MediaPipePose:
    return loaded[0]


def decode(data: bytes) -> Any:
    return codec.decode(data, picture_checks.inspect(data, max_pixels=MAX_PIXELS, max_side=MAX_SIDE))


def numbers(people: list[Person]) -> list[Any]:
    return [[[list(p) for p in one.landmarks], [list(p) for p in one.world_landmarks]] for one in people]


def plain_answers(model: Path, files: list[str], max_people: int = 1) -> dict[str, list[Any]]:
    return dict(zip(files, detect_plain(model, gallery.pictures(files), max_people), strict=True))


def test_every_picture_equals_plain_mediapipe(engine: MediaPipePose, model: Path) -> None:
    files = gallery.names(served=True)
    assert len(files) >= 65
    expected = plain_answers(model, files)
    wrong = [
        file for file in files if numbers(engine.detect(decode(gallery.picture(file)))) != expected[file]
    ]
    assert wrong == []
    assert sum(1 for people in expected.values() if people) >= 50


def test_several_people_equal_plain_mediapipe(model: Path) -> None:
    files = gallery.names(folder="multi/")
    expected = plain_answers(model, files, max_people=5)
    several = MediaPipePose()
    several.load(config(model, max_people=5))
    try:
        found = {file: numbers(several.detect(decode(gallery.picture(file)))) for file in files}
    finally:
        several.close()
    assert found == expected
    assert max(map(len, found.values())) > 1


def test_control_one_different_landmark_is_noticed(engine: MediaPipePose, model: Path) -> None:
    """Control of the comparison: another quality of JPEG is another answer."""
    expected = plain_answers(model, ["formats/pose_q15.jpg"])["formats/pose_q15.jpg"]
    found = numbers(engine.detect(decode(gallery.picture("formats/pose_baseline_420.jpg"))))
    assert found != expected


@pytest.mark.hostile("I-13")
@pytest.mark.hostile("I-15")
@pytest.mark.parametrize(
    "file", [name for name in gallery.names(served=True) if gallery.manifest()[name].golden]
)
def test_golden_landmarks_are_reproduced(engine: MediaPipePose, file: str) -> None:
    expected = np.array(gallery.golden_points(gallery.manifest()[file].golden))
    people = engine.detect(decode(gallery.picture(file)))
    assert len(people) == 1
    found = np.array(people[0].landmarks)[:, :2]
    assert found.shape == (33, 2)
    assert np.abs(found - expected).max() < GOLDEN_TOLERANCE


def test_answers_survive_json_to_float32(loaded: tuple[MediaPipePose, EngineInfo]) -> None:
    engine, _info = loaded
    people = engine.detect(decode(pictures.built_in()))
    body = render.answer_json(pose, people, pose.NAMES, {"task": "pose"}, width=512, height=512)
    answer = json.loads(b"{" + body + b"}")["people"][0]
    for key, points in (("landmarks", people[0].landmarks), ("world_landmarks", people[0].world_landmarks)):
        keys = ("x", "y", "z", "visibility", "presence")
        found = np.array([[landmark[k] for k in keys] for landmark in answer[key]], np.float32)
        assert np.array_equal(found, np.array(points, np.float32))
        assert np.array_equal(np.array(points), np.array(points, np.float32))  # they were float32


def test_landmark_names_and_bones_are_mediapipes(loaded: tuple[MediaPipePose, EngineInfo]) -> None:
    _engine, info = loaded
    assert info == EngineInfo("mediapipe"), "the landmarks are those of the task"
    mediapipe = modules().pose_landmarker
    assert tuple(mark.name.lower() for mark in mediapipe.PoseLandmark) == pose.NAMES
    lines = mediapipe.PoseLandmarksConnections.POSE_LANDMARKS
    assert tuple((line.start, line.end) for line in lines) == pose.BONES
    assert len(pose.NAMES) == len(set(pose.NAMES)) == 33
    assert pose.NAMES[:3] == ("nose", "left_eye_inner", "left_eye")
    assert pose.NAMES[32] == "right_foot_index"
    assert len(pose.BONES) == len(set(pose.BONES)) == 35
    assert {(11, 12), (23, 24), (15, 21)} < set(pose.BONES)
    assert all(0 <= index < 33 for bone in pose.BONES for index in bone)


@pytest.mark.hostile("I-17")
@pytest.mark.hostile("I-18")
@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1), (2, 3), (64, 64), (301, 203)])
def test_pictures_of_unusual_sizes_raise_nothing(engine: MediaPipePose, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    for picture in (
        np.zeros((*shape, 3), np.uint8),
        np.full((*shape, 3), 255, np.uint8),
        rng.integers(0, 256, (*shape, 3), np.uint8),
    ):
        people = engine.detect(picture)
        assert render.answer_json(pose, people, [""] * 33, {}, width=1, height=1)  # finite


@pytest.mark.parametrize(
    "picture",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 1), np.uint8), np.zeros((9, 9, 3), np.uint16)],
    ids=["grey", "one channel", "16-bit"],
)
def test_pictures_that_would_break_mediapipe_never_reach_it(engine: MediaPipePose, picture: Any) -> None:
    before = numbers(engine.detect(decode(pictures.built_in())))
    with pytest.raises(ValueError, match="8-bit RGB"):
        engine.detect(picture)
    assert numbers(engine.detect(decode(pictures.built_in()))) == before


def test_a_broken_model_is_explained(tmp_path: Path) -> None:
    for name, content in (("missing.task", None), ("empty.task", b""), ("text.task", b"not a model" * 99)):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelError, match=rf"{name}.*models fetch"):
            MediaPipePose().load(config(path))


def run(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def test_missing_graphics_libraries_are_explained(tmp_path: Path, model: Path) -> None:
    """A file that is not a library is first in the search path, which fails like a missing library."""
    (tmp_path / "libEGL.so.1").write_bytes(b"")
    script = (
        "from pathlib import Path\n"
        "from posecluster_inference.worker.engines import EngineConfig\n"
        "from posecluster_inference.worker.engines.mediapipe_pose import MediaPipePose\n"
        "from posecluster_inference.errors import ModelError\n"
        f"config = EngineConfig('pose', 'full', Path({str(model)!r}), 1)\n"
        "try: MediaPipePose().load(config)\n"
        "except ModelError as error: print(error)\n"
    )
    said = run(script, LD_LIBRARY_PATH=str(tmp_path))
    assert "libEGL" in said
    assert "libegl1 libgles2" in said


def test_a_worker_imports_only_what_pose_needs_and_prints_nothing(model: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from importlib import resources\n"
        "from posecluster_inference import pictures\n"
        "from posecluster_inference.worker import codec\n"
        "from posecluster_inference.worker.engines import EngineConfig\n"
        "from posecluster_inference.worker.engines.mediapipe_pose import MediaPipePose\n"
        "codec.configure(max_pixels=10**6, max_side=1024)\n"
        "engine = MediaPipePose()\n"
        f"engine.load(EngineConfig('pose', 'full', Path({str(model)!r}), 1))\n"
        "data = resources.files('posecluster_inference').joinpath('data/astronaut.jpg').read_bytes()\n"
        "picture = codec.decode(data, pictures.inspect(data, max_pixels=10**6, max_side=1024))\n"
        "engine.warm_up(picture)\n"
        "engine.close()\n"
        "engine.close()\n"
        "tasks = 'mediapipe.tasks.python.'\n"
        "names = ('matplotlib', tasks + 'audio', tasks + 'vision.drawing_utils')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    assert run(script) == "[]\n"


def test_an_unknown_engine_is_explained() -> None:
    for name in ("nothing", "no.such:Engine", "json:Engine", "json"):
        with pytest.raises(InvalidSetting, match="POSECLUSTER_ENGINE"):
            engines.create(name, pose.ENGINES)
