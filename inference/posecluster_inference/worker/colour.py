"""ICC profiles: a drawn picture has the unchanged profile of the picture that was sent.

Pixels are not converted. Decoders ignore the profile of a Display P3 or Adobe RGB photograph, so it does not
affect the landmarks, but a viewer needs it to show correct colours. The worker process copies the profile as
bytes and does not interpret it.

Layouts: ICC.1:2022, 7.2 (profile header) and annex B (JPEG); PNG, third edition, 11.3.2.3 (iCCP);
RFC 9649, 2.7.1 (VP8X, ICCP).
"""

import struct
import zlib

from posecluster_inference.errors import Refusal
from posecluster_inference.pictures import PictureFormat, jpeg, png, webp

MAX_PROFILE_BYTES = 60_000  # fits into one JPEG segment; profiles of displays and cameras have 0.5 to 4 kB
_HEADER_BYTES = 128
_JPEG_SIGNATURE = b"ICC_PROFILE\0"
_APP2 = 0xE2
_WEBP_HAS_PROFILE = 0x20
_NAME = b"ICC profile\0"  # PNG requires a name, which has no meaning


def profile_of(data: bytes, picture_format: PictureFormat) -> bytes:
    """Return the RGB profile of a picture; empty if it has none.

    `data` must have passed `pictures.inspect`. A profile is ignored if it is damaged, longer than
    `MAX_PROFILE_BYTES`, or for another colour space, because the decoder converts CMYK and grey to RGB.
    """
    readers = {
        PictureFormat.JPEG: _from_jpeg,
        PictureFormat.PNG: _from_png,
        PictureFormat.WEBP: _from_webp,
    }
    try:
        profile = readers[picture_format](data)
    except Refusal:  # data after the picture is damaged, which decoders do not read
        return b""
    is_rgb = profile[16:20] == b"RGB " and profile[36:40] == b"acsp"
    is_whole = int.from_bytes(profile[:4]) == len(profile)
    is_usable = is_rgb and is_whole and _HEADER_BYTES < len(profile) <= MAX_PROFILE_BYTES
    return profile if is_usable else b""


def _from_jpeg(data: bytes) -> bytes:
    parts: dict[int, bytes] = {}
    for start, end in jpeg.segments(data, _APP2):
        content = data[start:end]
        if content.startswith(_JPEG_SIGNATURE) and len(content) > len(_JPEG_SIGNATURE) + 2:
            parts[content[len(_JPEG_SIGNATURE)]] = content[len(_JPEG_SIGNATURE) + 2 :]
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
    """Return an encoded opaque picture of this size with `profile` added; it must not have one."""
    match picture_format:
        case PictureFormat.JPEG:
            segment = _JPEG_SIGNATURE + b"\x01\x01" + profile  # part 1 of 1
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
