"""tests/golden/astronaut.json, by which end-to-end tests judge answers, equals MediaPipe's result."""

import os
from pathlib import Path

import pytest

from harness.e2e.agent import expected_landmarks
from harness.pictures import built_in
from harness.plain_mediapipe import detect_plain
from harness.server import ROOT

TOLERANCE = 0.003  # the same models differ by up to 0.0012 on arm64


@pytest.mark.parametrize("variant", ["lite", "full", "heavy"])
def test_expected_landmarks_are_mediapipes(variant: str) -> None:
    folder = Path(os.environ.get("POSECLUSTER_MODEL_DIR", str(ROOT / "models")))
    models = sorted(folder.glob(f"*{variant}*.task"))
    if not models:
        pytest.skip(f"no {variant} model in {folder.name}/: run make models")
    (person,) = detect_plain(models[0], [built_in()])[0]
    expected = expected_landmarks()[variant]
    found = [(mark[0], mark[1]) for mark in person[0]]
    assert len(found) == len(expected) == 33
    for (x, y), (wanted_x, wanted_y) in zip(found, expected, strict=True):
        assert abs(x - wanted_x) <= TOLERANCE
        assert abs(y - wanted_y) <= TOLERANCE
