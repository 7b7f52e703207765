"""`make bench-heavy`: the cost of the heaviest pictures within the limits, and their effect on others.

First a worker's time for each picture, in this process and with the full model; then an ordinary caller (an
ordinary picture, JSON, one request after the other) on its own, beside four callers like it, and beside four
that send the heaviest pictures and ask for WebP. With --write the tables go into docs/performance.md.
"""

import argparse
import http.client
import itertools
import os
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench import page, picture, processes
from bench.open_loop import percentile
from bench.picture import unique

_PACKAGES = ("mediapipe", "opencv-python-headless", "numpy")
_SIDE = 5_000
_PIXELS = 25_000_000
_BODY_BYTES = 10_485_760
_DEADLINE_SECONDS = 30


def pictures() -> dict[str, bytes]:
    """Make the heaviest pictures that are accepted: 25 megapixels, or nearly 10 MiB, or both."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(1)

    def grain(width: int, height: int, strength: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        rows, columns = np.mgrid[0:height, 0:width]
        smooth = np.dstack([columns * 255 // width, rows * 255 // height, (rows + columns) % 256]).astype(
            np.int16
        )
        noise = rng.normal(0, strength, smooth.shape).astype(np.int16)
        return np.clip(smooth + noise, 0, 255).astype(np.uint8)

    def written(pixels: object, suffix: str, quality: int, *options: int) -> bytes:
        """Encode with the highest quality up to this one whose file is accepted."""
        flag = cv2.IMWRITE_WEBP_QUALITY if suffix == ".webp" else cv2.IMWRITE_JPEG_QUALITY
        for lower in range(quality, 0, -5):
            data = cv2.imencode(suffix, pixels, [flag, lower, *options])[1].tobytes()
            if len(data) <= _BODY_BYTES:
                return data
        raise AssertionError(suffix)

    noisy = grain(_SIDE, _SIDE, 30)
    full_chroma = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    bits = (rng.integers(0, 2, noisy.shape) * 255).astype(np.uint8)
    return {
        "JPEG, 5712 x 4284, grainy photograph": written(grain(5_712, 4_284, 16), ".jpg", 85),
        "JPEG, 4:4:4, turned by EXIF": turned(written(noisy, ".jpg", 90, *full_chroma)),
        "JPEG, progressive": written(noisy, ".jpg", 90, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "JPEG, progressive, 4:4:4": written(noisy, ".jpg", 90, cv2.IMWRITE_JPEG_PROGRESSIVE, 1, *full_chroma),
        "JPEG, 20 scans without content": empty_scans(20),
        "WebP": written(noisy, ".webp", 60),
        "WebP, lossless": cv2.imencode(".webp", bits, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes(),
        "PNG, RGB, interlaced": interlaced_png(samples=3, colour=2),
        "PNG, RGBA, interlaced": interlaced_png(samples=4, colour=6),
    }


def turned(jpeg: bytes) -> bytes:
    """Return the JPEG with an EXIF orientation of 6 (by 90 degrees)."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06" + bytes(6)
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


def empty_scans(count: int) -> bytes:
    """A progressive JPEG of few bytes: each scan makes the decoder refine all of its zeros."""

    def segment(kind: int, content: bytes) -> bytes:
        return bytes([0xFF, kind]) + (len(content) + 2).to_bytes(2, "big") + content

    side = _SIDE.to_bytes(2, "big")
    frame = b"\x08" + side + side + b"\x03" + b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    one_code = bytes([1, *[0] * 15])
    tables = segment(0xDB, b"\0" + b"\x01" * 64)
    tables += segment(0xC4, b"\0" + one_code + b"\0") + segment(0xC4, b"\x10" + one_code + b"\xe0")
    blocks = (_SIDE // 8) ** 2
    first = segment(0xDA, b"\x03\x01\0\x02\0\x03\0\0\0\0") + bytes(blocks * 3 // 8) + b"\x1f"
    runs = "011111111111111" * -(-blocks // 32_767)  # "the next 32,767 blocks end here"
    runs += "1" * (-len(runs) % 8)
    content = int(runs, 2).to_bytes(len(runs) // 8, "big").replace(b"\xff", b"\xff\0")
    more = [
        segment(0xDA, bytes([1, number % 3 + 1, 0, 1, 63, 0x10])) + content for number in range(count - 1)
    ]
    return b"\xff\xd8" + tables + segment(0xC2, frame) + first + b"".join(more) + b"\xff\xd9"


def interlaced_png(*, samples: int, colour: int) -> bytes:
    """Rows with the Paeth filter, as noisy as a body of 10 MiB allows."""
    import numpy as np

    passes = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    for share in (0.05, 0.045, 0.04, 0.035, 0.03, 0.025, 0.02):
        rng, packer, packed = np.random.default_rng(1), zlib.compressobj(1), []
        for left, top, right_step, down_step in passes:
            columns, rows = -(-(_SIDE - left) // right_step), -(-(_SIDE - top) // down_step)
            shape = (rows, columns * samples)
            noise = (rng.random(shape) < share) * rng.integers(0, 256, shape)
            filtered = np.hstack([np.full((rows, 1), 4), noise]).astype(np.uint8)
            packed.append(packer.compress(filtered.tobytes()))
        data = b"".join([*packed, packer.flush()])
        if len(data) < _BODY_BYTES - 1_000:
            break
    side = _SIDE.to_bytes(4, "big")
    chunks = (b"IHDR", side + side + bytes([8, colour, 0, 0, 1])), (b"IDAT", data), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        for kind, content in chunks
    )


def costs(made: dict[str, bytes], model: Path) -> list[tuple[str, str, str]]:
    """Return rows: what each picture takes in a worker, by the form of its answer."""
    from posecluster_inference import pictures
    from posecluster_inference.worker.main import Worker
    from posecluster_inference.worker.messages import AnswerForm, WorkerConfig, WorkerRequest

    worker = Worker(
        WorkerConfig(
            engine="mediapipe",
            task="pose",
            variant="full",
            model_path=str(model),
            max_people=1,
            max_pixels=_PIXELS,
            max_side_pixels=16_384,
            memory_share_bytes=4 << 30,
        )
    )
    rows = []
    for name, data in made.items():
        header = pictures.inspect(data, max_pixels=_PIXELS, max_side=16_384)
        decode, whole = [], []
        for kind in ("json", "jpeg", "png", "webp"):
            answer = worker.answer(WorkerRequest(len(whole), header, AnswerForm(kind)), data)
            assert answer.reason is None, (name, answer.detail)
            decode.append(answer.stages["decode"])
            whole.append(answer.busy_seconds)
        times = ", ".join(f"{seconds:.2f}" for seconds in whole)
        rows.append((f"{name}, {len(data) / 1e6:.1f} MB", f"{median(decode):.2f} s", f"{times} s"))
    worker.close()
    return rows


class Caller:
    """One request after the other over a kept connection; latencies in milliseconds."""

    def __init__(self, port: int, bodies: Iterator[bytes], accept: str) -> None:
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.ended = threading.Event()
        self._arguments = port, bodies, accept
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        port, bodies, accept = self._arguments
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_DEADLINE_SECONDS)
        while not self.ended.is_set():
            body = next(bodies)
            started = time.perf_counter()
            connection.request("POST", "/v1/detect", body, {"Accept": accept})
            answer = connection.getresponse()
            answer.read()
            self.latencies.append((time.perf_counter() - started) * 1000)
            self.statuses[answer.status] += 1
            if answer.status != 200:
                time.sleep(int(answer.headers.get("Retry-After", "1")))
        connection.close()

    def join(self) -> None:
        self._thread.join()


@contextmanager
def calling(port: int, bodies: Iterator[bytes], *, callers: int, accept: str) -> Iterator[list[Caller]]:
    """Callers that go on until the end of the block."""
    ahead = [Caller(port, bodies, accept) for _ in range(callers)]
    try:
        yield ahead
    finally:
        for caller in ahead:
            caller.ended.set()
        for caller in ahead:
            caller.join()


def shared(
    workers: int, ordinary: bytes, heavy: list[bytes], seconds: float, log: Path
) -> tuple[str, str, str]:
    """Return a row: the polite caller's latencies, and how many heavy requests were answered meanwhile."""
    light = Serial(unique(ordinary, number) for number in itertools.count())
    heaviest = Serial(itertools.cycle(heavy))  # the cache is off: the same bodies are computed each time
    with processes.ours(workers, log, POSECLUSTER_CACHE_ENTRIES="0") as server:
        polite = {}
        for name, bodies, callers, accept in (
            ("alone", light, 0, ""),
            ("light", light, 4, "application/json"),
            ("heavy", heaviest, 4, "image/webp"),
        ):
            with calling(server.port, bodies, callers=callers, accept=accept) as others:
                time.sleep(1 if callers else 0)
                with calling(server.port, light, callers=1, accept="application/json") as (caller,):
                    time.sleep(seconds)
            polite[name] = caller
            assert set(caller.statuses) == {200}, caller.statuses
    p50 = median(polite["alone"].latencies)
    beside_light, beside_heavy = (percentile(polite[name].latencies, 0.95) for name in ("light", "heavy"))
    answered = sum(other.statuses[200] for other in others)
    return (
        f"polite caller, W = {workers}: p50 alone; p95 beside 4 light; p95 beside 4 heavy",
        f"{p50:.0f}; {beside_light:.0f}; **{beside_heavy:.0f} ms** ({answered} heavy in {seconds:.0f} s)",
        f"≤ {beside_light + 2 * p50:.0f} ms",
    )


class Serial:
    """An iterator that several threads may ask."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source, self._lock = source, threading.Lock()

    def __iter__(self) -> "Serial":
        return self

    def __next__(self) -> bytes:
        with self._lock:
            return next(self._source)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    options = parser.parse_args()
    if os.getloadavg()[0] > 0.5:
        sys.stderr.write(f"bench: the machine is busy (load {os.getloadavg()[0]:.1f})\n")
    model = processes.ROOT / "models" / "pose_landmarker_full.task"
    made = pictures()
    worst = costs(made, model)
    with tempfile.TemporaryDirectory() as folder:
        ordinary = picture.make(Path(folder) / "picture.jpg")
        heavy = list(made.values())
        rows = [shared(n, ordinary, heavy, options.seconds, Path(folder) / "log") for n in (2, 1)]
    title = ("picture of 25 megapixels", "decoding", "in a worker, for an answer as JSON, JPEG, PNG, WebP")
    text = "\n".join(
        [f"{page.machine(_PACKAGES, 'the callers')}; full model.", ""]
        + [f"| {' | '.join(row)} |" for row in (title, ("---",) * 3, *worst)]
        + ["", *page.table(rows)]
    )
    print(text)
    if options.write:
        page.fill("bench-heavy", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
