"""MediaPipe's Pose Landmarker (Tasks API) behind the engine seam.

Threads: its kernels (TensorFlow Lite with XNNPACK) run in one thread on Linux, whatever the machine
has. The graph's own threads, six to eight, follow the node's processors in /sys and neither the
affinity nor the CPU quota, but they only hand a picture on: CPU time equalled wall time within 1 %
with 2 processors and with 16 shown to it.
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

# What the Tasks API raises for a status of the C library: mediapipe_c_utils.convert_to_exception.
# TimeoutError, FileNotFoundError and a library that cannot be loaded are OSErrors.
_MEDIAPIPE_ERRORS = (RuntimeError, ValueError, IndexError, OSError)


class MediaPipePose:
    """The Pose Landmarker in IMAGE mode: every picture stands alone, nothing is tracked.

    Confidences stay at MediaPipe's default of 0.5: lower ones move landmarks.
    """

    def __init__(self) -> None:
        self._mediapipe: MediaPipeModules
        self._landmarker: Any = None

    def load(self, config: EngineConfig) -> EngineInfo:
        """Create the landmarker; raises ModelError with what to do if a library or the model is missing.

        It takes the model by path: by buffer it needs 20 MiB more and 0.1 s longer.
        """
        self._mediapipe = modules()
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
        """Run the first inference, which also builds the kernels; raises ModelError if nobody is found."""
        try:
            with native_log.muted():
                people = self.detect(picture)
        except _MEDIAPIPE_ERRORS as error:
            raise ModelError(f"The model cannot run: {error}") from error
        if not people:
            raise ModelError("The model finds nobody in the built-in picture: it is not a pose model")

    def detect(self, picture: "NDArray[np.uint8]") -> list[Person]:
        """Find people in contiguous (H, W, 3) uint8 RGB, best first; raises ValueError for any other array.

        The check is not politeness: a grey picture poisons the landmarker, a 16-bit one aborts the
        process. MediaPipe copies the picture, and keeps its copy until the next one.
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
        """Free the landmarker; its complaint, if any, helps nobody at the end of a process."""
        landmarker, self._landmarker = self._landmarker, None
        if landmarker is not None:
            with suppress(*_MEDIAPIPE_ERRORS), native_log.muted():
                landmarker.close()


def _points(landmarks: list[Any]) -> tuple[Point, ...]:
    return tuple((mark.x, mark.y, mark.z, mark.visibility, mark.presence) for mark in landmarks)


def _advice(error: Exception, config: EngineConfig) -> str:
    text = str(error).partition("\n")[0]
    if isinstance(error, OSError) and ".so" in text:
        return f"MediaPipe lacks a system library ({text}); on Debian: apt-get install libegl1 libgles2"
    if NO_THREAD in text:
        return f"MediaPipe cannot start its threads: {ALLOW_PROCESSES}"
    return (
        f"MediaPipe cannot use {config.model_path.name} ({text[:200]}); "
        "fetch it again: posecluster-inference models fetch"
    )
