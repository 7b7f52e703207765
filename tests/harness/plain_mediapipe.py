"""Plain MediaPipe, used as documented, in a separate process: our answers must equal its results."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# matplotlib serves MediaPipe's plots only and is not installed with the server
_ALONE = """
import json, sys, types
sys.modules["matplotlib"] = plots = types.ModuleType("matplotlib")
sys.modules["matplotlib.pyplot"] = plots.pyplot = types.ModuleType("matplotlib.pyplot")
import cv2, numpy as np
import mediapipe as mp
from mediapipe.tasks.python import vision
from mediapipe.tasks.python.core import base_options
options = vision.PoseLandmarkerOptions(
    base_options=base_options.BaseOptions(model_asset_path=sys.argv[1]), num_poses=int(sys.argv[2]))
point = lambda p: [p.x, p.y, p.z, p.visibility, p.presence]
with vision.PoseLandmarker.create_from_options(options) as landmarker:
    for line in sys.stdin:
        picture = cv2.imdecode(np.fromfile(line.strip(), np.uint8), cv2.IMREAD_COLOR)
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        found = landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=picture))
        print(json.dumps([
            [[point(p) for p in body], [point(p) for p in world]]
            for body, world in zip(found.pose_landmarks, found.pose_world_landmarks)]))
"""


def detect_plain(model: Path, pictures: Sequence[bytes], max_people: int = 1) -> list[Any]:
    """For each picture its people: landmarks and world landmarks as x, y, z, visibility, presence."""
    with TemporaryDirectory(prefix="posecluster-plain-") as folder:
        files = [Path(folder, str(index)) for index in range(len(pictures))]
        for file, data in zip(files, pictures, strict=True):
            file.write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-c", _ALONE, str(model), str(max_people)],
            input="".join(f"{file}\n" for file in files),
            capture_output=True,
            text=True,
            timeout=80,
            check=True,
        )
    people = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(people) == len(files)
    return people
