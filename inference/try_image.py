"""Run each model of the image on the built-in photograph: the build fails where a landmarker cannot be made.

MediaPipe imports without its native libraries and fails only then. Prints what was found, as JSON, and
writes nothing; the build keeps it in the image.
"""

import json
import math
import os
import sys
from importlib import resources

from posecluster_inference.models import store
from posecluster_inference.models.catalogue import CATALOGUE
from posecluster_inference.pictures import inspect
from posecluster_inference.worker import codec, engines
from posecluster_inference.worker.tasks import CATALOGUE as TASKS

_NOSE = (0.437, 0.251)  # of the astronaut, full model
_NEAR = 0.02  # lite, the least exact, is 0.012 off
_LANDMARKS = 33


def main() -> int:
    data = resources.files("posecluster_inference").joinpath("data/astronaut.jpg").read_bytes()
    picture = codec.decode(data, inspect(data, max_pixels=1 << 20, max_side=1024))
    found = []
    for model in CATALOGUE:
        file = store.verified(os.environ["POSECLUSTER_MODEL_DIR"], model.task, model.variant)
        engine = engines.create("mediapipe", TASKS[model.task].ENGINES)
        engine.load(engines.EngineConfig(model.task, model.variant, file.path, max_people=1))
        people = engine.detect(picture)
        engine.close()
        if [len(person.landmarks) for person in people] != [_LANDMARKS]:
            sys.exit(f"{model.variant}: not one person of {_LANDMARKS} landmarks: {people}")
        nose = people[0].landmarks[0][:2]
        if math.dist(nose, _NOSE) > _NEAR:
            sys.exit(f"{model.variant}: the nose is at {nose} and not at {_NOSE}")
        found.append(
            {
                "variant": model.variant,
                "sha256": file.sha256,
                "origin": file.origin,
                "nose": [round(part, 4) for part in nose],
            }
        )
    print(json.dumps({"picture": "astronaut.jpg", "detections": found}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
