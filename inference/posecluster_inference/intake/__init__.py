"""What the server process learns of a body without any decoder: see `inspect`.

No image library is imported here. `inspect` runs on the server's loop: its time is linear in the
body and it copies nothing. `sanitised` runs in a worker, right before the decoder.
"""

from dataclasses import dataclass
from enum import StrEnum

from posecluster_inference.errors import Reason, Refusal, Undecodable
from posecluster_inference.intake import jpeg, png, webp
from posecluster_inference.intake.limits import SizeLimit


class PictureFormat(StrEnum):
    """The formats that are ever given to a decoder."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"


@dataclass(frozen=True, slots=True)
class Header:
    """A picture's format and its size in pixels as stored, before any EXIF orientation."""

    format: PictureFormat
    width: int
    height: int


_READERS = {
    PictureFormat.JPEG: jpeg.measure,
    PictureFormat.PNG: png.measure,
    PictureFormat.WEBP: webp.measure,
}


def inspect(data: bytes, *, max_pixels: int, max_side: int) -> Header:
    """Tell format and size of a whole picture file by its bytes alone, or refuse it.

    Raises Refusal: 400 malformed for an empty body, 415 unsupported_format for unknown magic bytes,
    413 picture_too_large (found before any other fault), 422 undecodable for a file that is cut off
    or breaks a rule of its format. Bytes after the picture's end are ignored.
    """
    if not data:
        raise Refusal(Reason.MALFORMED, "The body is empty: send a JPEG, PNG or WebP file as the body")
    kind = _sniff(data)
    width, height = _READERS[kind](data, SizeLimit(max_pixels, max_side))
    return Header(kind, width, height)


def sanitised(data: bytes, header: Header) -> bytes:
    """Return the same picture without what a decoder need not see: text, profiles, later frames.

    `data` has passed `inspect` with this header. Returns `data` itself when there is nothing to
    drop. Takes as long as inflating the picture once for PNG, so it belongs in a worker.
    Raises Undecodable for a PNG with far more pixel data than it declares, and for a WebP of over
    20,000 chunks.
    """
    try:
        if header.format is PictureFormat.PNG:
            return png.critical(data)
        if header.format is PictureFormat.WEBP:
            return webp.first_frame(data)
    except Refusal as refusal:
        raise Undecodable(refusal.detail) from refusal
    return data


def _sniff(data: bytes) -> PictureFormat:
    if data.startswith(jpeg.MAGIC):
        return PictureFormat.JPEG
    if data.startswith(png.MAGIC):
        return PictureFormat.PNG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return PictureFormat.WEBP
    raise Refusal(
        Reason.UNSUPPORTED_FORMAT,
        "The body does not start like a JPEG, PNG or WebP file: convert the picture to one of these",
    )
