"""A worker process, which decodes, detects and renders one picture at a time.

`process.WorkerProcess` starts it as `python -m posecluster_inference.worker.main FD`, where FD is the
descriptor of its pipe. The first frame from the server contains the configuration. The worker answers with
`Ready` after a real inference, or with `Fatal` and a message. Each further frame contains a picture, and the
worker sends one frame for each. The process ends when the pipe is closed, and after any exception: a
landmarker that raised an exception may be unusable (mediapipe#5365), so the whole process is replaced.
"""

import ctypes
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

from posecluster_inference.errors import PoseClusterError, Reason, Refusal, TooLarge, Undecodable
from posecluster_inference.machine.cpu import resident_bytes
from posecluster_inference.pictures import PictureFormat, decoded, inspect, sniff
from posecluster_inference.worker import codec, colour, engines, render, sandbox, wire
from posecluster_inference.worker.messages import (
    JSON_ANSWER,
    Fatal,
    ModelInfo,
    Ready,
    WorkerAnswer,
    WorkerConfig,
    WorkerRequest,
)
from posecluster_inference.worker.tasks import CATALOGUE
from posecluster_inference.worker.tasks.drawing import Drawn

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_MIB = 1 << 20
# The server raises its own limit. A worker needs about ten descriptors, and select() in a library would fail
# for descriptors above this number.
_DESCRIPTORS = 1_024


def main() -> int:
    _isolate()
    with socket.socket(fileno=int(sys.argv[1])) as pipe:
        return _serve(pipe)


def _serve(pipe: socket.socket) -> int:
    first = wire.receive(pipe)
    if first is None:
        return 0
    try:
        worker = Worker(WorkerConfig.of(first[0]))
    except PoseClusterError as error:
        wire.send(pipe, Fatal(str(error)).head())
        return 1
    wire.send(pipe, Ready(worker.model, resident_bytes(), worker.protection).head())
    while (frame := wire.receive(pipe)) is not None:
        head, picture = frame
        answer = worker.answer(WorkerRequest.of(head), picture)
        wire.send(pipe, answer.head(), answer.body)
    worker.close()
    return 0


def _isolate() -> None:
    """Ignore signals of a shutdown, end together with the server process, and set limits and priorities."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resident_bytes()  # opens its file now, because the sandbox forbids it later
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft > _DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, hard))
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Batch threads do not preempt each other on wake-up. MediaPipe passes a picture through several threads,
    # and two workers on two cores were 9 % faster with this (docs/performance.md).
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    # If memory runs out, the kernel should kill a worker and not the server.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _limit_memory(share_bytes: int) -> None:
    """Limit the private memory of this process to its present size plus `share_bytes`."""
    with suppress(OSError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"VmData:"):
                limit = int(line.split()[1]) * 1024 + share_bytes
                resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
                return


@contextmanager
def _timed(stages: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    stages[stage] = time.perf_counter() - started


def _refusal(error: Refusal | Undecodable) -> tuple[Reason, str]:
    if isinstance(error, Refusal):
        return error.reason, error.detail
    return Reason.PICTURE_TOO_LARGE if isinstance(error, TooLarge) else Reason.UNDECODABLE, str(error)


class Worker:
    """The loaded model and its task; the constructor raises PoseClusterError if it cannot be loaded."""

    def __init__(self, config: WorkerConfig) -> None:
        self._limits = {"max_pixels": config.max_pixels, "max_side": config.max_side_pixels}
        codec.configure(**self._limits)
        self._task = CATALOGUE[config.task]
        model = Path(config.model_path)
        self._engine = engines.create(config.engine, self._task.ENGINES)
        self.protection = sandbox.enter(model) if config.sandbox else sandbox.Protection()
        info = self._engine.load(engines.EngineConfig(config.task, config.variant, model, config.max_people))
        names, bones = info.landmark_names, info.bones
        if not names:
            names, bones = self._task.NAMES, self._task.BONES
        self.model = ModelInfo(config.task, config.variant, info.engine, names, bones)
        self._named = {"task": config.task, "variant": config.variant, "engine": info.engine}
        self._picture_bytes = 0  # size of the last picture, of which MediaPipe retains a copy until the next
        self._warm_up()
        _limit_memory(config.memory_share_bytes)
        sandbox.seal(self.protection)

    def _warm_up(self) -> None:
        pictures = resources.files("posecluster_inference").joinpath("data")
        data = pictures.joinpath(self._task.WARM_UP_PICTURE).read_bytes()
        header = inspect(data, max_pixels=_MIB, max_side=1024)
        self._engine.warm_up(codec.decode(data, header))

    def answer(self, request: WorkerRequest, data: bytes) -> WorkerAnswer:
        """Return the answer to a request, or its refusal; `data` is the picture."""
        started = time.perf_counter()
        stages: dict[str, float] = {}
        reason, detail = None, ""
        try:
            body, drawn = self._body(request, data, stages)
        except (Refusal, Undecodable) as error:
            reason, detail = _refusal(error)
            body, drawn, stages = b"", None, {}
        return WorkerAnswer(
            request=request.number,
            busy_seconds=time.perf_counter() - started,
            memory_bytes=max(0, resident_bytes() - len(data) - len(body) - self._picture_bytes),
            reason=reason,
            detail=detail,
            stages=stages,
            drawn=drawn,
            body=body,
        )

    def _body(
        self, request: WorkerRequest, data: bytes, stages: dict[str, float]
    ) -> tuple[bytes, Drawn | None]:
        """Return the body of the answer and the sizes of a drawn picture; adds the times to `stages`."""
        with _timed(stages, "decode"):
            header = request.header
            if sniff(data) is None:  # the picture is encoded as text
                data, header = decoded(data, **self._limits)
            picture = codec.decode(data, header)
        self._picture_bytes = picture.nbytes
        height, width = picture.shape[:2]
        with _timed(stages, "inference"):
            people = self._engine.detect(picture)
        form, model = request.form, self.model
        if form.kind == JSON_ANSWER:
            with _timed(stages, "encode"):
                body = render.answer_json(
                    self._task,
                    people,
                    model.landmarks,
                    self._named,
                    width=width,
                    height=height,
                    chosen=self._task.KEYPOINT_SETS[form.keypoints] if form.keypoints else (),
                    in_pixels=form.in_pixels,
                )
            return body, None
        with _timed(stages, "draw"):
            drawn = codec.shrunk(picture)
            high, wide = drawn.shape[:2]
            render.draw(drawn, self._task.drawing(people, model.bones, width=wide, height=high))
        with _timed(stages, "encode"):
            profile = colour.profile_of(data, header.format)
            body = codec.encode(drawn, PictureFormat(form.kind), profile)
        return body, Drawn(wide, high, width, height)

    def close(self) -> None:
        self._engine.close()


if __name__ == "__main__":
    sys.exit(main())
