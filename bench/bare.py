"""The upper bound: landmarkers in plain processes, without server, queue or pipe.

    python -m bench.bare MODEL PICTURE SECONDS

Decodes and detects, and prints one JSON line: the number of pictures and the seconds they took.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from bench.picture import unique
from posecluster_inference.worker.engines.mediapipe_import import modules


@contextmanager
def detector(model: Path, picture: bytes) -> Iterator[Callable[[int], float]]:
    """Give a function that decodes and detects the picture of that number, and returns its seconds."""
    mp = modules()
    options = mp.pose_landmarker.PoseLandmarkerOptions(
        base_options=mp.base_options.BaseOptions(model_asset_path=str(model))
    )
    image = mp.image
    with mp.pose_landmarker.PoseLandmarker.create_from_options(options) as landmarker:

        def once(number: int) -> float:
            data = unique(picture, number)
            started = time.perf_counter()
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            result = landmarker.detect(image.Image(image.ImageFormat.SRGB, pixels))
            assert result.pose_landmarks, "the picture must show a person"
            return time.perf_counter() - started

        for number in range(10):
            once(number)
        yield once


def main() -> None:
    model, picture, seconds = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), float(sys.argv[3])
    with detector(model, picture) as once:
        print("ready", flush=True)
        sys.stdin.readline()  # all processes start together
        count = 0
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            once(count)
            count += 1
        took = time.perf_counter() - started
    print(json.dumps({"count": count, "seconds": took}), flush=True)


if __name__ == "__main__":
    main()
