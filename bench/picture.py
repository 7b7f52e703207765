"""The picture of every benchmark: a photograph of one person, 810 x 1080, about 137 kB as JPEG."""

from importlib import resources
from pathlib import Path

_WIDTH, _HEIGHT = 810, 1080
_BYTES = 137_000


def make(path: Path) -> bytes:
    """Enlarge the built-in photograph to the usual size and weight, and keep it at `path`."""
    import cv2
    import numpy as np

    data = resources.files("posecluster_inference").joinpath("data/astronaut.jpg").read_bytes()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    left = (_HEIGHT - _WIDTH) // 4
    picture = cv2.resize(picture, (_HEIGHT, _HEIGHT), interpolation=cv2.INTER_CUBIC)[:, left : left + _WIDTH]
    encoded = b""
    for quality in range(60, 100):
        encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(encoded) >= _BYTES:
            break
    path.write_bytes(encoded)
    return encoded


def unique(picture: bytes, number: int) -> bytes:
    """Return the same picture with a comment of its own, so that no cache can answer for it."""
    text = b"%012d" % number
    return picture[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + picture[2:]
