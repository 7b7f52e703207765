"""What a picture will cost a worker, learned from what pictures like it have cost.

The server knows a picture's format, its size and the form of its answer before anything is decoded. What
depends on these (decoding, drawing, encoding) is learned for each class of pictures; inference, which
depends on the people in the picture, is one average for all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from posecluster_inference.pictures import Header, PictureFormat
from posecluster_inference.worker.tasks.drawing import drawn_size

_FIRST_INFERENCE_SECONDS = 0.1  # before the first answer has been measured
_WEIGHT = 0.1  # of the newest sample in the moving averages
# A job is heavy if handling its picture takes longer than so many inferences. Beside jobs below that, an
# ordinary request waits no longer than two ordinary requests; see "Heavy requests" in docs/performance.md.
_HEAVY_INFERENCES = 3
_LEAST_INFERENCE_SECONDS = (
    0.02  # so that a fast machine, or an engine without work, has no heavy jobs below 60 ms
)
# Seconds a megapixel before a class has been measured: those of dense pictures in docs/performance.md.
_DECODE_SECONDS = {PictureFormat.JPEG: 0.013, PictureFormat.PNG: 0.05, PictureFormat.WEBP: 0.03}
_ENCODE_SECONDS = {"jpeg": 0.01, "png": 0.04, "webp": 0.2}

_Class = tuple[PictureFormat, str, int]  # format, form of the answer, bits in the number of pixels


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job is expected to take in a worker, and whether it counts as heavy."""

    seconds: float = _FIRST_INFERENCE_SECONDS
    is_heavy: bool = False


ORDINARY = Cost()  # an inference with little around it, before any has been measured


@dataclass(slots=True)
class Costs:
    """Moving averages; at most some hundred classes exist."""

    inference_seconds: float = _FIRST_INFERENCE_SECONDS
    _handling: dict[_Class, float] = field(default_factory=dict)

    @property
    def usual(self) -> Cost:
        """The cost of an ordinary request: an inference, with little around it."""
        return Cost(self.inference_seconds)

    def estimate(self, header: Header, kind: str) -> Cost:
        """Return the expected cost of a picture whose answer is of this kind (`AnswerForm.kind`)."""
        handling = self._handling.get(_class_of(header, kind))
        if handling is None:
            handling = _first_guess(header, kind)
        limit = _HEAVY_INFERENCES * max(self.inference_seconds, _LEAST_INFERENCE_SECONDS)
        return Cost(self.inference_seconds + handling, handling > limit)

    def learn(self, header: Header, kind: str, stages: Mapping[str, float]) -> None:
        """Take in what an answered picture took: seconds of each stage."""
        inference = stages.get("inference", 0.0)
        handling = sum(stages.values()) - inference
        self.inference_seconds += _WEIGHT * (inference - self.inference_seconds)
        key = _class_of(header, kind)
        before = self._handling.get(key, handling)
        self._handling[key] = before + _WEIGHT * (handling - before)


def _class_of(header: Header, kind: str) -> _Class:
    return header.format, kind, (header.width * header.height).bit_length()


def _first_guess(header: Header, kind: str) -> float:
    width, height = drawn_size(header.width, header.height)
    decode = header.width * header.height * _DECODE_SECONDS[header.format]
    return (decode + width * height * _ENCODE_SECONDS.get(kind, 0.0)) / 1e6
