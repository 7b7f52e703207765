"""The limit: landmarkers in bare processes, no server, no queue, no pipe.

    python -m bench.bare MODEL PICTURE SECONDS

Decodes and detects as a person would who reads MediaPipe's documentation, and prints one JSON line:
how many pictures in how many seconds, and the median of one in milliseconds.
"""

import json
import sys
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from bench.picture import unique
from posecluster_inference.engines.mediapipe_import import modules


def main() -> None:
    model, picture, seconds = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), float(sys.argv[3])
    mp = modules()
    options = mp.pose_landmarker.PoseLandmarkerOptions(
        base_options=mp.base_options.BaseOptions(model_asset_path=str(model))
    )
    image = mp.image
    with mp.pose_landmarker.PoseLandmarker.create_from_options(options) as landmarker:

        def once(number: int) -> float:
            started = time.perf_counter()
            data = np.frombuffer(unique(picture, number), np.uint8)
            pixels = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
            result = landmarker.detect(image.Image(image.ImageFormat.SRGB, pixels))
            assert result.pose_landmarks, "the picture must show a person"
            return time.perf_counter() - started

        for number in range(10):
            once(number)
        print("ready", flush=True)
        sys.stdin.readline()  # all processes start together
        times: list[float] = []
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            times.append(once(len(times)))
        took = time.perf_counter() - started
    print(json.dumps({"count": len(times), "seconds": took, "p50_ms": median(times) * 1000}), flush=True)


if __name__ == "__main__":
    main()
