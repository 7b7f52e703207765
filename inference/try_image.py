"""Run each model of the image on the built-in photograph; the image build fails if one does not work.

A missing native library of MediaPipe is noticed only when a landmarker is created, not by importing it.
Prints the detections as JSON, which the build stores in the image.
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

_NOSE = (0.437, 0.251)  # position of the astronaut's nose, found by the full model
_NEAR = 0.02  # allowed distance; the lite model, the least exact, is off by 0.012
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
            sys.exit(f"{model.variant}: expected one person with {_LANDMARKS} landmarks, found {people}")
        nose = people[0].landmarks[0][:2]
        if math.dist(nose, _NOSE) > _NEAR:
            sys.exit(f"{model.variant}: expected the nose at {_NOSE}, found it at {nose}")
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
