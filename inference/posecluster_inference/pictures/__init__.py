"""What can be learned of a body without any decoder: see `inspect`.

No image library is imported here. `inspect` runs on the server's loop: its time is linear in the
body and it copies nothing, except for the beginning of a picture that is written as text. `decoded` and
`sanitised` run in a worker, right before the decoder.
"""

from collections.abc import Callable
from dataclasses import dataclass

from posecluster_inference.errors import Reason, Refusal, Undecodable
from posecluster_inference.pictures import encoded, jpeg, kinds, png, webp
from posecluster_inference.pictures.kinds import PictureFormat, sniff
from posecluster_inference.pictures.limits import SizeLimit, undecodable

__all__ = ["Header", "PictureFormat", "decoded", "inspect", "sanitised", "sniff"]


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
_DECLARED: dict[PictureFormat, Callable[[bytes, SizeLimit], tuple[int, int] | None]] = {
    PictureFormat.JPEG: jpeg.declared,
    PictureFormat.PNG: png.declared,
    PictureFormat.WEBP: webp.declared,
}


def inspect(body: bytes, *, max_pixels: int, max_side: int) -> Header:
    """Return format and size of a picture by its bytes, or refuse it.

    Of a picture written as text (`encoded`) only the beginning is read; a worker, which decodes the text,
    inspects the whole. Raises Refusal: 400 malformed for an empty body or broken text, 415
    unsupported_format for unknown magic bytes, 413 picture_too_large (found before any other fault), 422
    undecodable for a file that is cut off or breaks a rule of its format. Bytes after the picture's end are
    ignored.
    """
    limit = SizeLimit(max_pixels, max_side)
    if sniff(body) is None and encoded.is_encoded(body):
        return _encoded_header(body, limit)
    return _header(body, limit)


def decoded(body: bytes, *, max_pixels: int, max_side: int) -> tuple[bytes, Header]:
    """Return the picture in a body that is written as text, and its header; raises Refusal like `inspect`."""
    data = encoded.picture(body)
    return data, _header(data, SizeLimit(max_pixels, max_side))


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


def _header(data: bytes, limit: SizeLimit) -> Header:
    kind = _format(data)
    lost = kinds.lost_bytes(data)
    if lost is not None:
        raise undecodable(f"The picture {lost}")
    return Header(kind, *_READERS[kind](data, limit))


def _encoded_header(body: bytes, limit: SizeLimit) -> Header:
    data = encoded.beginning(body)
    kind = _format(data)
    size = _DECLARED[kind](data, limit)
    # where far more metadata than photographs have comes first, the header is not in the beginning
    return Header(kind, *size) if size is not None else _header(encoded.picture(body), limit)


def _format(data: bytes) -> PictureFormat:
    if not data:
        raise Refusal(Reason.MALFORMED, "The picture is empty: send a JPEG, PNG or WebP file as the body")
    kind = sniff(data)
    if kind is None:
        described = (
            kinds.describe(data) or "not a JPEG, PNG or WebP file: convert the picture to one of these"
        )
        raise Refusal(Reason.UNSUPPORTED_FORMAT, f"This is {described}")
    return kind
