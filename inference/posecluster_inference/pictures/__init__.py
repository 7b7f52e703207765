"""Checks of pictures without a decoder.

This package imports no image library. `inspect` runs on the server's event loop: its time is linear in the
size of the body, and it copies only the beginning of a picture that is encoded as text. `decoded` and
`sanitised` run in a worker, before the decoder.
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
    """The format of a picture and its stored size in pixels, before EXIF orientation is applied."""

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
    """Return the format and size of a picture.

    If the picture is encoded as text (`encoded`), only its beginning is inspected; the worker that decodes
    the text inspects the whole picture. Bytes after the end of the picture are ignored. Raises Refusal: 400
    malformed for an empty body or invalid text, 415 unsupported_format for unknown magic bytes, 413
    picture_too_large (checked before other faults of the picture), 422 undecodable for a file that is cut off
    or violates its format.
    """
    limit = SizeLimit(max_pixels, max_side)
    if sniff(body) is None and encoded.is_encoded(body):
        return _encoded_header(body, limit)
    return _header(body, limit)


def decoded(body: bytes, *, max_pixels: int, max_side: int) -> tuple[bytes, Header]:
    """Return the picture that a body encodes as text, and its header; raises Refusal like `inspect`."""
    data = encoded.picture(body)
    return data, _header(data, SizeLimit(max_pixels, max_side))


def sanitised(data: bytes, header: Header) -> bytes:
    """Return the picture without parts that the decoder does not need: text, profiles, later frames.

    `data` must have passed `inspect` with this header; it is returned unchanged if there is nothing to
    remove. Runs in a worker, because a PNG takes the time of decompressing it once. Raises Undecodable for a
    PNG with far more pixel data than its header declares, and for a WebP with more than 20,000 chunks.
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
        raise undecodable(f"The picture {lost}.")
    return Header(kind, *_READERS[kind](data, limit))


def _encoded_header(body: bytes, limit: SizeLimit) -> Header:
    data = encoded.beginning(body)
    kind = _format(data)
    size = _DECLARED[kind](data, limit)
    # The header is not in the beginning if it follows far more metadata than photographs have.
    return Header(kind, *size) if size is not None else _header(encoded.picture(body), limit)


def _format(data: bytes) -> PictureFormat:
    if not data:
        raise Refusal(Reason.MALFORMED, "The picture is empty: send a JPEG, PNG or WebP file as the body.")
    kind = sniff(data)
    if kind is None:
        described = (
            kinds.describe(data) or "not a JPEG, PNG or WebP file: convert the picture to one of these"
        )
        raise Refusal(Reason.UNSUPPORTED_FORMAT, f"This is {described}.")
    return kind
