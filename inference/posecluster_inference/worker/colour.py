"""ICC profiles: a drawn picture carries the profile of the picture that was sent, as it is.

Pixels are not converted. A decoder that ignores the profile of a Display P3 or Adobe RGB photograph
gives the same numbers, and so the same landmarks, but whoever shows them needs the profile to show the
right colours. The profile is copied as bytes in the worker process; nothing here interprets it.

Layouts: ICC.1:2022, 7.2 (profile header) and annex B (JPEG); PNG, third edition, 11.3.2.3 (iCCP);
RFC 9649, 2.7.1 (VP8X, ICCP).
"""

import struct
import zlib

from posecluster_inference.errors import Refusal
from posecluster_inference.pictures import PictureFormat, jpeg, png, webp

MAX_PROFILE_BYTES = 60_000  # fits one JPEG segment; those of displays and cameras have 0.5 to 4 kB
_HEADER_BYTES = 128
_JPEG_MARK = b"ICC_PROFILE\0"
_APP2 = 0xE2
_WEBP_HAS_PROFILE = 0x20
_NAME = b"ICC profile\0"  # PNG wants one; it says nothing


def profile_of(data: bytes, picture_format: PictureFormat) -> bytes:
    """Return the ICC profile for RGB that a picture carries; empty without one.

    `data` has passed `intake.inspect`. A profile for another colour space (the decoder has turned CMYK
    and grey into RGB), one of over `MAX_PROFILE_BYTES`, or one that is damaged, counts as none.
    """
    readers = {
        PictureFormat.JPEG: _from_jpeg,
        PictureFormat.PNG: _from_png,
        PictureFormat.WEBP: _from_webp,
    }
    try:
        profile = readers[picture_format](data)
    except Refusal:  # what follows the picture is damaged, and decoders do not read it
        return b""
    is_rgb = profile[16:20] == b"RGB " and profile[36:40] == b"acsp"
    is_whole = int.from_bytes(profile[:4]) == len(profile)
    is_usable = is_rgb and is_whole and _HEADER_BYTES < len(profile) <= MAX_PROFILE_BYTES
    return profile if is_usable else b""


def _from_jpeg(data: bytes) -> bytes:
    parts: dict[int, bytes] = {}
    for start, end in jpeg.segments(data, _APP2):
        content = data[start:end]
        if content.startswith(_JPEG_MARK) and len(content) > len(_JPEG_MARK) + 2:
            parts[content[len(_JPEG_MARK)]] = content[len(_JPEG_MARK) + 2 :]
    return b"".join(parts[number] for number in sorted(parts))


def _from_png(data: bytes) -> bytes:
    for kind, start, end in png.chunks(data, len(png.MAGIC)):
        if kind == b"iCCP":
            _name, _, packed = data[start + 8 : end - 4].partition(b"\0")
            try:
                return zlib.decompressobj().decompress(packed[1:], MAX_PROFILE_BYTES + 1)
            except zlib.error:
                return b""
        if kind == b"IDAT":
            break
    return b""


def _from_webp(data: bytes) -> bytes:
    return next((data[start:end] for kind, start, end in webp.chunks(data) if kind == b"ICCP"), b"")


def with_profile(
    picture: bytes, picture_format: PictureFormat, profile: bytes, *, width: int, height: int
) -> bytes:
    """Return an encoded opaque picture of this size, which has no profile yet, with `profile`."""
    match picture_format:
        case PictureFormat.JPEG:
            segment = _JPEG_MARK + b"\x01\x01" + profile  # part 1 of 1
            return picture[:2] + struct.pack(">BBH", 0xFF, _APP2, len(segment) + 2) + segment + picture[2:]
        case PictureFormat.PNG:
            content = b"iCCP" + _NAME + b"\0" + zlib.compress(profile)
            chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
            return picture[: png.IHDR_END] + chunk + picture[png.IHDR_END :]
        case PictureFormat.WEBP:
            canvas = bytes([_WEBP_HAS_PROFILE, 0, 0, 0]) + b"".join(
                (side - 1).to_bytes(3, "little") for side in (width, height)
            )
            chunks = webp.chunk(b"VP8X", canvas) + webp.chunk(b"ICCP", profile) + picture[12:]
            return webp.chunk(b"RIFF", b"WEBP" + chunks)
