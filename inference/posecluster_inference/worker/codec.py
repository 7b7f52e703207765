"""Decodes and encodes pictures with OpenCV, only in worker processes.

OpenCV selects the decoder by content, applies the EXIF orientation of JPEG, PNG (eXIf) and WebP, converts
grey, CMYK, palette, alpha, 16-bit, 1-bit and interlaced pictures to 8-bit colour, and rejects truncated
files. This module passes it only the required parts (`pictures.sanitised`), compares the decoded size with
the header that `pictures.inspect` has read, so that a second, contradicting header has no effect, and reports
every failure as one exception.

cv2 is imported inside the functions because it reads its limits when it is loaded.
"""

import os
import re
from typing import TYPE_CHECKING

import numpy as np

from posecluster_inference.errors import InvalidSetting, TooLarge, Undecodable
from posecluster_inference.pictures import Header, PictureFormat, sanitised
from posecluster_inference.worker import colour
from posecluster_inference.worker.engines import native_log
from posecluster_inference.worker.tasks.drawing import drawn_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

MINIMUM_OPENCV = (
    4,
    12,
)  # older versions can show the previous picture in a truncated JPEG (opencv#26488)
QUALITY = 90  # of JPEG and WebP responses; no visible loss, and a third of the bytes of quality 100
_WORKING_BYTES_A_PIXEL = 6  # measured peak memory of decoding; 9 for progressive 4:4:4
_LEAST_PIXELS = 1 << 20  # minimum of OpenCV's limits, so that it can decode the built-in picture
_LEAST_SIDE = 1 << 10


def configure(*, max_pixels: int, max_side: int) -> None:
    """Configure OpenCV for this process, before its first use; raises InvalidSetting if it is too old.

    OpenCV's own limits are a second line of defence, because `pictures.inspect` has refused larger pictures
    already. OpenCV's log is disabled, because it quotes the input, and OpenCV uses one thread.
    """
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(max(max_pixels, _LEAST_PIXELS))
    os.environ["OPENCV_IO_MAX_IMAGE_WIDTH"] = str(max(max_side, _LEAST_SIDE))
    os.environ["OPENCV_IO_MAX_IMAGE_HEIGHT"] = str(max(max_side, _LEAST_SIDE))
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    import cv2

    check_version(cv2.__version__)
    cv2.setNumThreads(1)


def check_version(version: str) -> None:
    """Raise InvalidSetting unless `version` of OpenCV is at least `MINIMUM_OPENCV`."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if not numbers or (int(numbers[1]), int(numbers[2])) < MINIMUM_OPENCV:
        floor = ".".join(map(str, MINIMUM_OPENCV))
        raise InvalidSetting(
            f"opencv-python-headless {version}: {floor} or newer is required, because older versions can "
            "leak a picture"
        )


def decode(data: bytes, header: Header) -> "NDArray[np.uint8]":
    """Decode a picture to contiguous, upright (H, W, 3) uint8 RGB.

    The pixels are those of `cv2.imdecode(data, cv2.IMREAD_COLOR)` in RGB order. Raises Undecodable if the
    file is broken or cut off, or if its size differs from that of `header`, which is the stored size: EXIF
    orientations 5-8 swap width and height. An orientation outside 1-8 is treated as 1.

    Peak memory besides the file, in bytes per pixel: usually 6, 8 for WebP with alpha, 9 for progressive JPEG
    without subsampling. Afterwards 3 remain (measured at 25 megapixels).
    """
    import cv2

    buffer = np.frombuffer(sanitised(data, header), np.uint8)
    try:
        with native_log.muted():
            picture = cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # its message contains build paths and limits that do not help the client
        picture = None
    if picture is None:
        _check_memory(header.width, header.height)
        raise Undecodable(
            f"The {header.format} data is broken or incomplete: send the whole file, or save it again."
        )
    height, width = picture.shape[:2]
    if (width, height) not in ((header.width, header.height), (header.height, header.width)):
        raise Undecodable(
            f"The {header.format} data does not have the size that its header declares: save it again."
        )
    if picture.dtype != np.uint8 or picture.ndim != 3 or not picture.flags.c_contiguous:
        raise Undecodable(
            f"The {header.format} data does not decode to 8-bit colour: save it with 8 bits a sample."
        )
    return picture  # type: ignore[return-value]  # cv2 declares the type of every picture as integer or float


def shrunk(picture: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    """Return a (H, W, 3) uint8 picture in the size for drawing: unchanged, or a smaller copy."""
    import cv2

    height, width = picture.shape[:2]
    size = drawn_size(width, height)
    if size == (width, height):
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def encode(picture: "NDArray[np.uint8]", picture_format: PictureFormat, profile: bytes = b"") -> bytes:
    """Encode (H, W, 3) uint8 RGB, with `profile` as the only metadata; raises Undecodable.

    JPEG and WebP have `QUALITY`. PNG is lossless and uses the fastest compression, run lengths after the SUB
    filter, which takes a third of the time of zlib level 1 and produces a tenth more bytes.
    """
    import cv2

    suffix, options = {
        PictureFormat.JPEG: (".jpg", [cv2.IMWRITE_JPEG_QUALITY, QUALITY]),
        PictureFormat.PNG: (
            ".png",
            [
                *(cv2.IMWRITE_PNG_COMPRESSION, 1),
                *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB),
                *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
            ],
        ),
        PictureFormat.WEBP: (".webp", [cv2.IMWRITE_WEBP_QUALITY, QUALITY]),
    }[picture_format]
    height, width = picture.shape[:2]
    try:
        encoded, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    except cv2.error:
        encoded = False
    if not encoded:
        _check_memory(width, height)
        raise Undecodable(
            f"A picture of {width} x {height} cannot be written as {picture_format}: request another format."
        )
    written = data.tobytes()
    if not profile:
        return written
    return colour.with_profile(written, picture_format, profile, width=width, height=height)


def _check_memory(width: int, height: int) -> None:
    """Raise TooLarge if the memory is insufficient, which OpenCV does not distinguish from other failures."""
    try:
        np.empty(
            width * height * _WORKING_BYTES_A_PIXEL, np.uint8
        )  # allocates address space without using it
    except MemoryError:
        raise TooLarge(
            "The picture needs more memory than this server has for one: send a smaller copy."
        ) from None
