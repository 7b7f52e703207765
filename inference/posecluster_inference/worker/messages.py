"""What the server and a worker process send to each other, and how that is written into frames of `wire`.

The server sends a `WorkerConfig`, and then a `WorkerRequest` with a picture each time. A worker sends `Ready`
or `Fatal`, and then a `WorkerAnswer` to each request. What a worker sends is data: `report_of` checks it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

from posecluster_inference.errors import Reason
from posecluster_inference.pictures import Header, PictureFormat
from posecluster_inference.worker.tasks.drawing import Drawn
from posecluster_inference.worker.wire import BrokenPipeFrame, Head

JSON_ANSWER = "json"
_OK = "ok"
_REFUSALS = frozenset({Reason.UNDECODABLE, Reason.PICTURE_TOO_LARGE, Reason.MALFORMED})
_LARGEST = 1 << 62  # of a number: beyond any time, size and memory, and within a float
_NUMBER = (int, float)
_STAGES = frozenset({"decode", "inference", "draw", "encode"})


class AnswerForm(NamedTuple):
    """What a caller gets: `kind` is `json`, or `jpeg`, `png` or `webp` for the drawn picture.

    Of JSON only: the 17 COCO keypoints instead of all landmarks, and pixels instead of fractions.
    """

    kind: str
    is_coco: bool = False
    in_pixels: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """What a worker process needs to start."""

    engine: str
    task: str
    variant: str
    model_path: str
    max_people: int
    max_pixels: int
    max_side_pixels: int
    memory_share_bytes: int

    def head(self) -> Head:
        return asdict(self)

    @classmethod
    def of(cls, head: Head) -> "WorkerConfig":
        return cls(**head)


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """One picture for a worker; its bytes are the frame's payload. Numbers count up from 0 in each worker."""

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
    """What a worker has loaded: part of the answer to `GET /v1/model`. Bones are pairs of indices."""

    task: str
    variant: str
    engine: str
    landmarks: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has completed a real inference; with the memory that it has then."""

    model: ModelInfo
    memory_bytes: int

    def head(self) -> Head:
        return {"event": "ready", "model": asdict(self.model), "memory": self.memory_bytes}


@dataclass(frozen=True, slots=True)
class Fatal:
    """A worker cannot start; `message` says what to do."""

    message: str

    def head(self) -> Head:
        return {"event": "fatal", "message": self.message}


@dataclass(slots=True, kw_only=True)  # frozen would take 1 µs more, twice for each request
class WorkerAnswer:
    """What became of a request: `body`, or the reason and the detail of a refusal.

    Times are seconds of work in the worker, of each stage and in all. `memory_bytes` is what stays when this
    picture and this answer are gone. `drawn` has the sizes of an answer that is a picture.
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
        """Return all but the body, which is the frame's payload."""
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
    """Read a frame that a worker sent; raises BrokenPipeFrame unless all of it is as it should be."""
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
                    raise BrokenPipeFrame("an answer with a wrong time")
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
        case {"event": "ready", "model": dict(model), "memory": int(memory)} if 0 <= memory <= _LARGEST:
            return Ready(_model(model), memory)
        case {"event": "fatal", "message": str(message)}:
            return Fatal(message)
    raise BrokenPipeFrame("a frame of no known kind")


def _drawn(sizes: object) -> Drawn | None:
    match sizes:
        case None:
            return None
        case [int(), int(), int(), int()] if all(0 < side <= _LARGEST for side in sizes):
            return Drawn(*sizes)
    raise BrokenPipeFrame("an answer with a wrong size")


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
    raise BrokenPipeFrame("a wrong description of a model")


def _bone(pair: object) -> tuple[int, int]:
    match pair:
        case [int(start), int(end)]:
            return start, end
    raise BrokenPipeFrame("a wrong description of a model")
