"""The messages between the server and a worker process, and their representation in frames of `wire`.

The server sends a `WorkerConfig`, then `WorkerRequest`s with a picture each. A worker sends `Ready` or
`Fatal`, then a `WorkerAnswer` to each request. The server does not trust a worker, so `report_of` checks its
messages.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple, Never

from posecluster_inference.errors import Reason
from posecluster_inference.pictures import Header, PictureFormat, sniff
from posecluster_inference.worker.sandbox import Protection
from posecluster_inference.worker.tasks.drawing import Drawn, drawn_size
from posecluster_inference.worker.wire import BrokenPipeFrame, Head

JSON_ANSWER = "json"
_OK = "ok"
_REFUSALS = frozenset({Reason.UNDECODABLE, Reason.PICTURE_TOO_LARGE, Reason.MALFORMED})
_LARGEST = 1 << 62  # larger than any valid time, size or memory, and representable as a float
_NUMBER = (int, float)
_LONGEST_DETAIL = 1_000  # characters
_LARGEST_PERSON_BYTES = 1 << 20  # as JSON; the 33 landmarks of a pose have 8 KiB
_LARGEST_PROFILE_BYTES = 4 << 20  # of a drawn picture, besides its pixels
_PIXEL_BYTES = 4  # of a drawn picture that no encoding makes smaller
_MEMBERS = {"model", "image", "people"}
_STAGES = frozenset({"decode", "inference", "draw", "encode"})


class AnswerForm(NamedTuple):
    """The form of an answer: `kind` is `json`, or `jpeg`, `png` or `webp` for a drawn picture.

    For JSON: `keypoints` is the name of one of the task's keypoint sets, or empty for all landmarks, and
    `in_pixels` selects pixels instead of fractions.
    """

    kind: str
    keypoints: str = ""
    in_pixels: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """The configuration with which a worker process starts."""

    engine: str
    task: str
    variant: str
    model_path: str
    max_people: int
    max_pixels: int
    max_side_pixels: int
    memory_share_bytes: int
    sandbox: bool

    def head(self) -> Head:
        return asdict(self)

    @classmethod
    def of(cls, head: Head) -> "WorkerConfig":
        return cls(**head)


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """One picture for a worker; its bytes are the frame's payload. Each worker numbers requests from 0."""

    number: int
    header: Header
    form: AnswerForm

    def head(self) -> Head:
        header = self.header
        picture = {"format": header.format, "width": header.width, "height": header.height}
        return {"request": self.number, **picture, "form": self.form}

    @classmethod
    def of(cls, head: Head) -> "WorkerRequest":
        header = Header(PictureFormat(head["format"]), head["width"], head["height"])
        return cls(head["request"], header, AnswerForm(*head["form"]))


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model that a worker has loaded, as `GET /v1/model` shows it. Bones are pairs of indices."""

    task: str
    variant: str
    engine: str
    landmarks: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has completed a real inference; `memory_bytes` is its memory after that.

    It has not yet processed any bytes of a caller, so `protection` can be believed.
    """

    model: ModelInfo
    memory_bytes: int
    protection: Protection

    def head(self) -> Head:
        return {
            "event": "ready",
            "model": asdict(self.model),
            "memory": self.memory_bytes,
            "protection": asdict(self.protection),
        }


@dataclass(frozen=True, slots=True)
class Fatal:
    """A worker cannot start; `message` states the problem and its solution."""

    message: str

    def head(self) -> Head:
        return {"event": "fatal", "message": self.message}


@dataclass(slots=True, kw_only=True)  # frozen would take 1 µs longer, twice per request
class WorkerAnswer:
    """The answer to a request: `body`, or the reason and detail of a refusal.

    `busy_seconds` is the total time in the worker, and `stages` the seconds of each stage. `memory_bytes` is
    the memory of the worker without this picture and answer. `drawn` has the sizes of a drawn picture.
    """

    request: int
    busy_seconds: float
    memory_bytes: int
    reason: Reason | None = None
    detail: str = ""
    stages: Mapping[str, float]
    drawn: Drawn | None = None
    body: bytes = b""

    def head(self) -> Head:
        """Return all members but the body, which is the frame's payload."""
        drawn = self.drawn
        return {
            "event": "answer",
            "request": self.request,
            "status": self.reason or _OK,
            "detail": self.detail,
            "stages": self.stages,
            "busy": self.busy_seconds,
            "memory": self.memory_bytes,
            "drawn": drawn and [drawn.width, drawn.height, drawn.original_width, drawn.original_height],
        }


def report_of(head: Head, body: bytes) -> Ready | Fatal | WorkerAnswer:
    """Return the message in a frame from a worker; raises BrokenPipeFrame if it is invalid."""
    match head:
        case {
            "event": "answer",
            "request": int(request),
            "status": str(status),
            "detail": str(detail),
            "stages": dict(stages),
            "busy": busy,
            "memory": int(memory),
            "drawn": drawn,
        } if 0 <= memory <= _LARGEST:
            if status not in _REFUSALS and status != _OK:
                raise BrokenPipeFrame("an answer with an unknown status")
            if not stages.keys() <= _STAGES:
                raise BrokenPipeFrame("an answer with an unknown stage")
            for seconds in (busy, *stages.values()):
                if not (isinstance(seconds, _NUMBER) and 0 <= seconds <= _LARGEST):
                    raise BrokenPipeFrame("an answer with an invalid time")
            return WorkerAnswer(
                request=request,
                busy_seconds=busy,
                memory_bytes=memory,
                reason=None if status == _OK else Reason(status),
                detail=detail,
                stages=stages,
                drawn=_drawn(drawn),
                body=body,
            )
        case {
            "event": "ready",
            "model": dict(model),
            "memory": int(memory),
            "protection": {"landlock_abi": int(abi), "seccomp": bool(seccomp)},
        } if 0 <= memory <= _LARGEST:
            return Ready(_model(model), memory, Protection(abi, seccomp))
        case {"event": "fatal", "message": str(message)}:
            return Fatal(message)
    raise BrokenPipeFrame("a frame of unknown kind")


def check_answer(
    answer: WorkerAnswer, request: WorkerRequest, max_people: int, elapsed_seconds: float
) -> None:
    """Raise BrokenPipeFrame if an answer does not have the form and the sizes that its request implies.

    A worker that was taken over can still send wrong landmarks, but not other members, another form, more
    bytes than the server expects, or more time than the `elapsed_seconds` since the request was sent. Other
    callers' costs and the autoscaler depend on these times.
    """
    if answer.busy_seconds > elapsed_seconds or sum(answer.stages.values()) > elapsed_seconds:
        raise BrokenPipeFrame("an answer that took longer than the server waited")
    if answer.reason is not None:
        if answer.body or answer.drawn or len(answer.detail) > _LONGEST_DETAIL:
            raise BrokenPipeFrame("a refusal with an answer")
    elif request.form.kind == JSON_ANSWER:
        _check_json(answer, request.header, max_people)
    else:
        _check_drawn(answer, request)


def _is_size_of(header: Header, width: object, height: object) -> bool:
    """Whether a size is that of a picture, which may lie on its side."""
    sizes = ((header.width, header.height), (header.height, header.width))
    return (width, height) in sizes


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _check_json(answer: WorkerAnswer, header: Header, max_people: int) -> None:
    if len(answer.body) > max_people * _LARGEST_PERSON_BYTES:
        raise BrokenPipeFrame("an answer that is too long")
    try:
        members = json.loads(b"{%b}" % answer.body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BrokenPipeFrame("an answer that is not JSON") from error
    match members:
        case {"model": dict(), "image": {"width": width, "height": height, **more}, "people": list(people)}:
            if more or members.keys() != _MEMBERS or not _is_size_of(header, width, height):
                raise BrokenPipeFrame("an answer to another picture")
            if answer.drawn or len(people) > max_people or not all(isinstance(one, dict) for one in people):
                raise BrokenPipeFrame("an answer with invalid people")
        case _:
            raise BrokenPipeFrame("an answer without its members")


def _check_drawn(answer: WorkerAnswer, request: WorkerRequest) -> None:
    drawn = answer.drawn
    if drawn is None or not _is_size_of(request.header, drawn.original_width, drawn.original_height):
        raise BrokenPipeFrame("a drawn picture of another size")
    if (drawn.width, drawn.height) != drawn_size(drawn.original_width, drawn.original_height):
        raise BrokenPipeFrame("a drawn picture of another size")
    largest = drawn.width * drawn.height * _PIXEL_BYTES + _LARGEST_PROFILE_BYTES
    if len(answer.body) > largest or sniff(answer.body) != request.form.kind:
        raise BrokenPipeFrame("an answer that is not the drawn picture")


def _drawn(sizes: object) -> Drawn | None:
    match sizes:
        case None:
            return None
        case [int(), int(), int(), int()] if all(0 < side <= _LARGEST for side in sizes):
            return Drawn(*sizes)
    raise BrokenPipeFrame("an answer with an invalid size")


def _model(model: Head) -> ModelInfo:
    match model:
        case {
            "task": str(task),
            "variant": str(variant),
            "engine": str(engine),
            "landmarks": list(names),
            "bones": list(bones),
        } if all(isinstance(name, str) for name in names):
            return ModelInfo(task, variant, engine, tuple(names), tuple(map(_bone, bones)))
    raise BrokenPipeFrame("an invalid description of a model")


def _bone(pair: object) -> tuple[int, int]:
    match pair:
        case [int(start), int(end)]:
            return start, end
    raise BrokenPipeFrame("an invalid description of a model")
