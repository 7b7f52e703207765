"""Estimates how long a worker needs for a picture, from measurements of similar pictures.

Before decoding, the server knows the format and size of a picture and the form of its answer. The times of
decoding, drawing and encoding depend on these, so they are averaged per class of pictures. The time of
inference depends on the people in the picture, so it is averaged over all pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from posecluster_inference.pictures import Header, PictureFormat
from posecluster_inference.worker.tasks.drawing import drawn_size

_FIRST_INFERENCE_SECONDS = 0.1  # assumed until the first answer
_WEIGHT = 0.1  # weight of the newest sample in the moving averages
# A job is heavy if decoding, drawing and encoding take longer than this number of inferences. Jobs that are
# not heavy delay an ordinary request by at most two ordinary requests; see "Heavy requests" in
# docs/performance.md.
_HEAVY_INFERENCES = 3
# On a fast machine, or with a trivial engine, jobs below 60 ms are never heavy.
_LEAST_INFERENCE_SECONDS = 0.02
# Seconds per megapixel, assumed until a class is measured; those of dense pictures in docs/performance.md
_DECODE_SECONDS = {PictureFormat.JPEG: 0.013, PictureFormat.PNG: 0.05, PictureFormat.WEBP: 0.03}
_ENCODE_SECONDS = {"jpeg": 0.01, "png": 0.04, "webp": 0.2}

_Class = tuple[PictureFormat, str, int]  # format, kind of the answer, bit length of the number of pixels


@dataclass(frozen=True, slots=True)
class Cost:
    """The expected time of a job in a worker, and whether the job is heavy."""

    seconds: float = _FIRST_INFERENCE_SECONDS
    is_heavy: bool = False


ORDINARY = Cost()  # an ordinary request, before any measurement


@dataclass(slots=True)
class Costs:
    """Moving averages of measured times. There are at most a few hundred classes of pictures."""

    inference_seconds: float = _FIRST_INFERENCE_SECONDS
    _handling: dict[_Class, float] = field(default_factory=dict)

    @property
    def usual(self) -> Cost:
        """The cost of an ordinary request, which is mostly inference."""
        return Cost(self.inference_seconds)

    def estimate(self, header: Header, kind: str) -> Cost:
        """Return the expected cost of a picture; `kind` is that of its answer (`AnswerForm.kind`)."""
        handling = self._handling.get(_class_of(header, kind))
        if handling is None:
            handling = _first_guess(header, kind)
        limit = _HEAVY_INFERENCES * max(self.inference_seconds, _LEAST_INFERENCE_SECONDS)
        return Cost(self.inference_seconds + handling, handling > limit)

    def in_requests(self, cost: Cost) -> float:
        """Return how many ordinary requests a job costs."""
        return cost.seconds / max(self.inference_seconds, _LEAST_INFERENCE_SECONDS)

    def learn(self, header: Header, kind: str, stages: Mapping[str, float]) -> None:
        """Update the averages with the measured seconds of each stage of an answered picture."""
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
