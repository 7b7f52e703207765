"""The engine that runs MediaPipe's Pose Landmarker (Tasks API).

Threads: on Linux, the kernels (TensorFlow Lite with XNNPACK) always run in one thread. The graph starts six
to eight threads of its own. Their number depends on the processors of the node in /sys and not on affinity or
CPU quota, but they only pass on the picture: CPU time equalled wall time within 1 % with 2 and with 16
visible processors.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from posecluster_inference.errors import ModelError
from posecluster_inference.machine.cpu import ALLOW_PROCESSES, NO_THREAD
from posecluster_inference.worker.engines import EngineConfig, EngineInfo, native_log
from posecluster_inference.worker.engines.mediapipe_import import MediaPipeModules, modules
from posecluster_inference.worker.tasks.pose import Person, Point

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Exceptions that the Tasks API raises for a status of the C library (mediapipe_c_utils.convert_to_exception).
# TimeoutError, FileNotFoundError and the error for a library that cannot be loaded are OSErrors.
_MEDIAPIPE_ERRORS = (RuntimeError, ValueError, IndexError, OSError)


class MediaPipePose:
    """The Pose Landmarker in IMAGE mode, which processes each picture independently, without tracking.

    Confidences have MediaPipe's default of 0.5, because lower values change the landmarks.
    """

    def __init__(self) -> None:
        """Load MediaPipe's library, before the sandbox hides the folders where the loader finds others.

        Raises ModelError if a library is missing.
        """
        self._mediapipe: MediaPipeModules = modules()
        self._landmarker: Any = None
        try:
            with native_log.muted():
                self._mediapipe.c_bindings.load_raw_library()
        except OSError as error:
            text = str(error).partition("\n")[0]
            raise ModelError(
                f"MediaPipe lacks a system library ({text}); on Debian: apt-get install libegl1 libgles2"
            ) from error

    def load(self, config: EngineConfig) -> EngineInfo:
        """Create the landmarker; raises ModelError if the model is missing.

        The landmarker gets the path of the model, because a buffer would take 20 MiB more and 0.1 s longer.
        """
        pose = self._mediapipe.pose_landmarker
        options = pose.PoseLandmarkerOptions(
            base_options=self._mediapipe.base_options.BaseOptions(model_asset_path=str(config.model_path)),
            num_poses=config.max_people,
        )
        try:
            with native_log.muted():
                self._landmarker = pose.PoseLandmarker.create_from_options(options)
        except _MEDIAPIPE_ERRORS as error:
            raise ModelError(_advice(error, config)) from error
        return EngineInfo("mediapipe")

    def warm_up(self, picture: "NDArray[np.uint8]") -> None:
        """Run the first inference, which also builds the kernels; raises ModelError if no person is found."""
        try:
            with native_log.muted():
                people = self.detect(picture)
        except _MEDIAPIPE_ERRORS as error:
            raise ModelError(f"The model cannot run: {error}") from error
        if not people:
            raise ModelError("The model finds no person in the built-in picture: it is not a pose model")

    def detect(self, picture: "NDArray[np.uint8]") -> list[Person]:
        """Return the people in contiguous (H, W, 3) uint8 RGB, best first; raises ValueError for others.

        The check is required: a grey picture makes the landmarker unusable, and a 16-bit picture aborts the
        process. MediaPipe retains a copy of the picture until the next one.
        """
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"Not an 8-bit RGB picture: {picture.dtype}, {picture.shape}")
        images = self._mediapipe.image
        result = self._landmarker.detect(images.Image(images.ImageFormat.SRGB, picture))
        return [
            Person(_points(landmarks), _points(world_landmarks))
            for landmarks, world_landmarks in zip(
                result.pose_landmarks, result.pose_world_landmarks, strict=True
            )
        ]

    def close(self) -> None:
        """Free the landmarker; errors are ignored, because the process is ending."""
        landmarker, self._landmarker = self._landmarker, None
        if landmarker is not None:
            with suppress(*_MEDIAPIPE_ERRORS), native_log.muted():
                landmarker.close()


def _points(landmarks: list[Any]) -> tuple[Point, ...]:
    return tuple((mark.x, mark.y, mark.z, mark.visibility, mark.presence) for mark in landmarks)


def _advice(error: Exception, config: EngineConfig) -> str:
    text = str(error).partition("\n")[0]
    if NO_THREAD in text:
        return f"MediaPipe cannot start its threads: {ALLOW_PROCESSES}"
    return (
        f"MediaPipe cannot use {config.model_path.name} ({text[:200]}); "
        "fetch it again: posecluster-inference models fetch"
    )
