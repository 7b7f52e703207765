"""Messages between server and worker arrive as they were sent; malformed ones are refused."""

import json
from typing import Any

import pytest

from posecluster_inference.errors import Reason
from posecluster_inference.pictures import Header, PictureFormat
from posecluster_inference.worker.messages import (
    AnswerForm,
    Fatal,
    ModelInfo,
    Ready,
    WorkerAnswer,
    WorkerConfig,
    WorkerRequest,
    check_answer,
    report_of,
)
from posecluster_inference.worker.sandbox import Protection
from posecluster_inference.worker.tasks.drawing import Drawn
from posecluster_inference.worker.wire import BrokenPipeFrame, FrameReader, Head, pack_head

pytestmark = pytest.mark.unit

MODEL = ModelInfo("pose", "full", "mediapipe", ("nose", "left_eye"), ((0, 1),))
ANSWER = WorkerAnswer(
    request=7,
    busy_seconds=0.031,
    memory_bytes=200 << 20,
    stages={"decode": 0.003, "inference": 0.027, "draw": 0.001, "encode": 0},
    drawn=Drawn(10, 20, 30, 40),
    body=b"\xff\xd8",
)
REFUSED = WorkerAnswer(
    request=0,
    busy_seconds=0.0,
    memory_bytes=0,
    reason=Reason.UNDECODABLE,
    detail="The jpeg data is broken or incomplete.",
    stages={},
)


def carried(head: Head, body: bytes = b"") -> tuple[Head, bytes]:
    """Through the pipe's framing and JSON."""
    (frame,) = FrameReader().feed(pack_head(head, len(body)) + body)
    return frame


def test_a_configuration_arrives() -> None:
    config = WorkerConfig(
        engine="mediapipe",
        task="pose",
        variant="lite",
        model_path="/models/é.task",
        max_people=2,
        max_pixels=3,
        max_side_pixels=4,
        memory_share_bytes=5,
        sandbox=True,
    )
    assert WorkerConfig.of(carried(config.head())[0]) == config


@pytest.mark.parametrize("form", [AnswerForm("webp"), AnswerForm("json", keypoints="coco", in_pixels=True)])
def test_a_request_arrives(form: AnswerForm) -> None:
    request = WorkerRequest(3, Header(PictureFormat.PNG, 640, 480), form)
    assert WorkerRequest.of(carried(request.head())[0]) == request


@pytest.mark.parametrize(
    "report", [Ready(MODEL, 9, Protection(7, seccomp=True)), Fatal("Nø model."), ANSWER, REFUSED]
)
def test_what_a_worker_sends_arrives(report: Ready | Fatal | WorkerAnswer) -> None:
    body = report.body if isinstance(report, WorkerAnswer) else b""
    assert report_of(*carried(report.head(), body)) == report


_WRONG: list[dict[str, Any]] = [
    {"event": "question"},
    {"request": "7"},
    {"request": None},
    {"status": "quota"},  # a reason, but not one that a worker may give
    {"status": None},
    {"detail": 1},
    {"stages": [0.1]},
    {"stages": {"sleep": 0.1}},
    {"stages": {"decode": "0.1"}},
    {"stages": {"decode": -0.1}},
    {"busy": None},
    {"busy": float("nan")},
    {"busy": float("inf")},
    {"busy": 10**400},  # no float holds it
    {"memory": 0.5},
    {"memory": -1},
    {"memory": 10**400},
    {"drawn": []},
    {"drawn": [1, 2, 3]},
    {"drawn": [1, 2, 3, 0]},
    {"drawn": [1, 2, 3, 4.0]},
    {"drawn": "1234"},
]


@pytest.mark.parametrize("wrong", _WRONG, ids=lambda wrong: json.dumps(wrong)[:40])
def test_a_malformed_answer_is_refused(wrong: dict[str, Any]) -> None:
    head, body = carried({**ANSWER.head(), **wrong}, ANSWER.body)
    with pytest.raises(BrokenPipeFrame):
        report_of(head, body)


@pytest.mark.parametrize("missing", [key for key in ANSWER.head() if key != "event"])
def test_an_answer_with_a_part_missing_is_refused(missing: str) -> None:
    head = {key: value for key, value in ANSWER.head().items() if key != missing}
    with pytest.raises(BrokenPipeFrame):
        report_of(*carried(head, ANSWER.body))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"task": 1},
        {"landmarks": "nose"},
        {"landmarks": [1]},
        {"bones": None},
        {"bones": [[0]]},
        {"bones": [[0, "1"]]},
        {"bones": [0, 1]},
    ],
    ids=json.dumps,
)
def test_a_malformed_description_of_the_model_is_refused(wrong: dict[str, Any]) -> None:
    head = Ready(MODEL, 1, Protection()).head()
    head["model"] = {**head["model"], **wrong} if wrong else {}
    with pytest.raises(BrokenPipeFrame):
        report_of(*carried(head))


PICTURE = Header(PictureFormat.JPEG, 640, 480)
PEOPLE = b'"model":{"task":"pose"},"image":{"width":640,"height":480},"people":[{"landmarks":[]}]'


WAITED = 0.2  # seconds since the request


def _said(body: bytes, **members: Any) -> WorkerAnswer:
    return WorkerAnswer(
        **{"request": 0, "busy_seconds": 0.1, "memory_bytes": 1, "stages": {}, "body": body, **members}
    )


def _asked(kind: str = "json") -> WorkerRequest:
    return WorkerRequest(0, PICTURE, AnswerForm(kind))


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("json", _said(PEOPLE)),
        ("json", _said(PEOPLE.replace(b'640,"height":480', b'480,"height":640'))),  # turned by EXIF
        ("json", _said(PEOPLE.replace(b'{"landmarks":[]}', b""))),
        ("json", _said(b"", reason=Reason.UNDECODABLE, detail="It is broken.")),
        ("png", _said(b"\x89PNG\r\n\x1a\nrest", drawn=Drawn(640, 480, 640, 480))),
        ("jpeg", _said(b"\xff\xd8\xff", drawn=Drawn(480, 640, 480, 640))),
    ],
)
def test_an_answer_that_fits_its_request_is_accepted(kind: str, answer: WorkerAnswer) -> None:
    check_answer(answer, _asked(kind), 1, WAITED)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("json", _said(b"")),
        ("json", _said(PEOPLE + b',"id":"forged"')),
        ("json", _said(PEOPLE + b'},{"a":1')),
        ("json", _said(PEOPLE.replace(b"640", b"641"))),
        ("json", _said(PEOPLE.replace(b"480}", b'480,"more":1}'))),
        ("json", _said(PEOPLE.replace(b"[]", b"[NaN]"))),
        ("json", _said(PEOPLE.replace(b'[{"landmarks":[]}]', b"[{},{}]"))),
        ("json", _said(PEOPLE.replace(b'{"landmarks":[]}', b'"person"'))),
        ("json", _said(PEOPLE.replace(b"[]", b"[" * 100_000))),
        ("json", _said(PEOPLE + b" " * (1 << 20))),
        ("json", _said(PEOPLE, drawn=Drawn(640, 480, 640, 480))),
        ("json", _said(b"\xff\xd8\xff")),
        ("json", _said(b"x", reason=Reason.UNDECODABLE)),
        ("json", _said(b"", reason=Reason.UNDECODABLE, detail="x" * 1_001)),
        ("png", _said(PEOPLE)),
        ("png", _said(b"\x89PNG\r\n\x1a\n")),
        ("png", _said(b"\xff\xd8\xff", drawn=Drawn(640, 480, 640, 480))),
        ("png", _said(b"\x89PNG\r\n\x1a\n", drawn=Drawn(320, 240, 640, 480))),
        ("png", _said(b"\x89PNG\r\n\x1a\n", drawn=Drawn(641, 480, 641, 480))),
        ("png", _said(b"\x89PNG\r\n\x1a\n".ljust(6 << 20), drawn=Drawn(640, 480, 640, 480))),
    ],
)
def test_an_answer_that_does_not_fit_its_request_is_malformed(kind: str, answer: WorkerAnswer) -> None:
    with pytest.raises(BrokenPipeFrame):
        check_answer(answer, _asked(kind), 1, WAITED)


@pytest.mark.parametrize(
    "times",
    [{"busy_seconds": 0.21}, {"stages": {"inference": 0.21}}, {"stages": {"decode": 0.11, "draw": 0.11}}],
)
def test_a_worker_cannot_claim_more_time_than_passed(times: dict[str, Any]) -> None:
    """The costs of all callers and the scaling depend on these times."""
    with pytest.raises(BrokenPipeFrame):
        check_answer(_said(PEOPLE, **times), _asked(), 1, WAITED)
