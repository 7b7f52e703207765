"""The simple server that ours is compared with: one process that calls the model in the handler.

python -m bench.plain_server MODEL PORT
"""

import sys

import cv2
import numpy as np
from aiohttp import web

from posecluster_inference.worker.engines.mediapipe_import import modules


def main() -> None:
    mp = modules()
    options = mp.pose_landmarker.PoseLandmarkerOptions(
        base_options=mp.base_options.BaseOptions(model_asset_path=sys.argv[1])
    )
    landmarker = mp.pose_landmarker.PoseLandmarker.create_from_options(options)

    async def detect(request: web.Request) -> web.Response:
        data = np.frombuffer(await request.read(), np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        result = landmarker.detect(mp.image.Image(mp.image.ImageFormat.SRGB, pixels))
        people = [
            [{"x": mark.x, "y": mark.y, "z": mark.z, "visibility": mark.visibility} for mark in person]
            for person in result.pose_landmarks
        ]
        return web.json_response({"people": people})

    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/v1/detect", detect)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), access_log=None, print=None)
    landmarker.close()


if __name__ == "__main__":
    main()
