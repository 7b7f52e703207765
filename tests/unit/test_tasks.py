"""The parts of every task are consistent, and the OpenAPI document derives from them."""

import json
import subprocess
import sys
from importlib import resources
from typing import Any

import jsonschema_rs
import pytest

from engines import hand_task
from posecluster_inference.server.http.openapi import document
from posecluster_inference.settings import Settings
from posecluster_inference.worker import tasks
from posecluster_inference.worker.tasks import Task, pose

pytestmark = pytest.mark.unit

TASKS: list[tuple[str, Task]] = [*tasks.CATALOGUE.items(), ("hand", hand_task)]
every_task = pytest.mark.parametrize(("name", "task"), TASKS, ids=[name for name, _task in TASKS])


@every_task
def test_names_bones_and_files_fit_together(name: str, task: Task) -> None:
    assert len(set(task.NAMES)) == len(task.NAMES)
    assert len(set(task.BONES)) == len(task.BONES)
    assert {index for bone in task.BONES for index in bone} <= set(range(len(task.NAMES)))
    assert all(model.task == name for model in task.MODELS)
    files = [model.file_name for _name, one in TASKS for model in one.MODELS]
    assert len(set(files)) == len(files)
    assert all(len(set(chosen)) == len(chosen) for chosen in task.KEYPOINT_SETS.values())
    assert all(set(chosen) <= set(task.NAMES) for chosen in task.KEYPOINT_SETS.values())
    assert task.ENGINES
    pictures = resources.files("posecluster_inference").joinpath("data")
    assert pictures.joinpath(task.WARM_UP_PICTURE).is_file()


@every_task
def test_the_example_is_what_the_schema_describes(name: str, task: Task) -> None:
    root = {"$ref": "#/components/schemas/Person", "components": {"schemas": task.SCHEMAS}}
    person = task.example()
    validator = jsonschema_rs.validator_for(root)
    validator.validate(person)
    assert [point["name"] for point in person["landmarks"]] == list(task.NAMES)
    del person["landmarks"][-1]["x"]
    assert not validator.is_valid(person)


@every_task
def test_openapi_follows_from_the_task(monkeypatch: pytest.MonkeyPatch, name: str, task: Task) -> None:
    monkeypatch.setattr(tasks, "CATALOGUE", tasks.CATALOGUE)
    monkeypatch.setitem(tasks.CATALOGUE, name, task)  # type: ignore[attr-defined]
    described: dict[str, Any] = document(Settings(model_task=name))
    components = described["components"]
    others = {schema for _name, one in TASKS if one is not task for schema in one.SCHEMAS}
    assert {key: components["schemas"][key] for key in task.SCHEMAS} == task.SCHEMAS
    assert not (others - set(task.SCHEMAS)) & set(components["schemas"])
    model = components["examples"]["Model"]["value"]
    assert (model["task"], model["landmarks"]) == (name, list(task.NAMES))
    assert model["bones"] == [list(bone) for bone in task.BONES]
    answer = components["examples"]["Detection"]["value"]
    assert answer["model"]["task"] == name
    parameters = components["parameters"].values()
    query = {one["name"]: one["schema"]["enum"] for one in parameters if one["in"] == "query"}
    assert query.get("keypoints", []) == list(task.KEYPOINT_SETS)
    references = {one["$ref"] for one in described["paths"]["/v1/detect"]["post"]["parameters"]}
    assert references == {f"#/components/parameters/{key}" for key in components["parameters"]} - {
        "#/components/parameters/If-None-Match"
    }
    root = {"$ref": "#/components/schemas/Detection", "components": components}
    jsonschema_rs.validator_for(json.loads(json.dumps(root))).validate(answer)


def test_coco_keypoints_are_landmarks_of_pose() -> None:
    assert len(set(pose.COCO_KEYPOINTS)) == 17
    assert set(pose.COCO_KEYPOINTS) < set(pose.NAMES)


def test_tasks_load_no_code_that_decodes_or_draws() -> None:
    script = (
        "import sys; from posecluster_inference.server.http import openapi\n"
        "from posecluster_inference.worker import messages, tasks\n"
        "print([name for name in ('numpy', 'cv2', 'mediapipe') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "[]\n"
