"""A task is one module and one row: a server with a second task describes, answers and draws accordingly."""

import json
from pathlib import Path

import cv2
import jsonschema_rs
import numpy as np
import pytest

from engines import hand_task
from harness import client, pictures
from harness.second_task import settings_of_second_task


def test_a_second_task_needs_one_module_and_one_row(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(workers=1, **settings_of_second_task(tmp_path, monkeypatch))
    model = client.get(server.url + "/v1/model").json()
    assert (model["task"], model["variant"], model["engine"]) == ("hand", "tiny", "paper")
    assert model["landmarks"] == list(hand_task.NAMES)
    assert model["bones"] == [list(bone) for bone in hand_task.BONES]
    assert model["sha256"] == hand_task.MODELS[0].accepted[0].sha256

    described = client.get(server.url + "/openapi.json").json()
    reply = client.post(server.url + "/v1/detect?coordinates=pixels", pictures.built_in())
    answer = json.loads(reply.body)
    for value, name in ((model, "Model"), (answer, "Detection")):
        root = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        jsonschema_rs.validator_for(root).validate(value)
    (hand,) = answer["people"]
    assert hand["is_left"] is True
    assert [(point["x"], point["y"]) for point in hand["landmarks"]] == [
        (x * 512, y * 512) for x, y in hand_task.HAND
    ]

    refused = client.post(server.url + "/v1/detect?keypoints=coco", pictures.built_in())
    assert (refused.status, refused.reason) == (400, "malformed")
    assert refused.json()["detail"] == "Unknown query parameter keypoints: this path takes draw, coordinates."
    assert "keypoints" not in described["components"]["parameters"]

    drawn = client.post(server.url + "/v1/detect?draw=png", pictures.built_in())
    picture = cv2.imdecode(np.frombuffer(drawn.body, np.uint8), cv2.IMREAD_COLOR_RGB)
    for x, y in hand_task.HAND:
        assert tuple(picture[int(y * 512), int(x * 512)]) == (255, 0, 0)
