"""A drawn picture has the ICC profile of the original picture if it is an RGB profile."""

import io
import random
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from harness.picture_parts import webp_chunk
from harness.pictures import png_chunk
from posecluster_inference import pictures
from posecluster_inference.pictures import PictureFormat
from posecluster_inference.worker import codec, colour

codec.configure(max_pixels=25_000_000, max_side=16_384)
SIZE = (60, 40)
PILLOW_FORMATS = {PictureFormat.JPEG: "JPEG", PictureFormat.PNG: "PNG", PictureFormat.WEBP: "WEBP"}


def rgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def padded(profile: bytes, length: int) -> bytes:
    """The same profile with bytes at its end, of this length."""
    return length.to_bytes(4, "big") + profile[4:] + random.Random(1).randbytes(length - len(profile))


def written(kind: PictureFormat, profile: bytes | None, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    picture = Image.new("RGB", SIZE, (200, 40, 90)).convert(mode)
    picture.save(buffer, PILLOW_FORMATS[kind], **({"icc_profile": profile} if profile else {}))
    return buffer.getvalue()


def carried(data: bytes) -> bytes:
    """The profile that Pillow finds in a picture."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return picture.info.get("icc_profile") or b""


@pytest.mark.parametrize("answered", PictureFormat)
@pytest.mark.parametrize("sent", PictureFormat)
def test_an_rgb_profile_reaches_the_answer(sent: PictureFormat, answered: PictureFormat) -> None:
    profile = rgb_profile()
    found = colour.profile_of(written(sent, profile), sent)
    assert found == profile
    pixels = np.full((SIZE[1], SIZE[0], 3), (200, 40, 90), np.uint8)
    plain, tagged = codec.encode(pixels, answered), codec.encode(pixels, answered, found)
    assert carried(plain) == b""
    assert carried(tagged) == profile
    assert pictures.inspect(tagged, max_pixels=10_000, max_side=100) == pictures.Header(answered, *SIZE)
    decoded = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in (plain, tagged)]
    assert np.array_equal(*decoded), "the pixels stay"


@pytest.mark.parametrize("kind", PictureFormat)
def test_the_largest_profile_is_copied_and_a_larger_one_is_not(kind: PictureFormat) -> None:
    largest = padded(rgb_profile(), colour.MAX_PROFILE_BYTES)
    assert colour.profile_of(written(kind, largest), kind) == largest
    assert carried(colour.with_profile(written(kind, None), kind, largest, width=60, height=40)) == largest
    too_large = padded(largest, colour.MAX_PROFILE_BYTES + 1)
    assert colour.profile_of(written(kind, too_large), kind) == b""


def test_a_jpeg_profile_in_parts_is_joined() -> None:
    profile = padded(rgb_profile(), 3_000)
    jpeg = written(PictureFormat.JPEG, None)
    parts = [b"ICC_PROFILE\0" + bytes([n + 1, 3]) + profile[n * 1_000 : n * 1_000 + 1_000] for n in (2, 0, 1)]
    segments = b"".join(b"\xff\xe2" + (len(part) + 2).to_bytes(2, "big") + part for part in parts)
    assert colour.profile_of(jpeg[:2] + segments + jpeg[2:], PictureFormat.JPEG) == profile


@pytest.mark.parametrize("kind", PictureFormat)
def test_what_is_not_an_rgb_profile_is_not_copied(kind: PictureFormat) -> None:
    profile = rgb_profile()
    for wrong in (
        profile[:16] + b"CMYK" + profile[20:],
        profile[:16] + b"GRAY" + profile[20:],
        profile[:36] + b"none" + profile[40:],
        b"\0\0\0\0" + profile[4:],
        profile[:-1],
        profile[:100],
        random.Random(2).randbytes(600),
    ):
        if kind is PictureFormat.PNG:
            plain = written(kind, None)
            data = plain[:33] + png_chunk(b"iCCP", b"x\0\0" + zlib.compress(wrong)) + plain[33:]
        else:
            data = written(kind, wrong)
        assert colour.profile_of(data, kind) == b""


def test_a_cmyk_picture_s_profile_is_not_copied() -> None:
    """The decoder turns CMYK into RGB, for which its profile is wrong."""
    cmyk = rgb_profile()[:16] + b"CMYK" + rgb_profile()[20:]
    data = written(PictureFormat.JPEG, cmyk, "CMYK")
    assert carried(data) == cmyk
    assert colour.profile_of(data, PictureFormat.JPEG) == b""


@pytest.mark.parametrize("kind", PictureFormat)
def test_a_picture_without_a_profile_has_none(kind: PictureFormat) -> None:
    assert colour.profile_of(written(kind, None), kind) == b""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"x\0",
        b"x\0\0",
        b"x\0\0garbage",
        b"no end of the name",
        b"bomb\0\0" + zlib.compress(rgb_profile() + bytes(64 << 20), 9),
    ],
)
def test_a_hostile_png_profile_is_ignored(content: bytes) -> None:
    png = written(PictureFormat.PNG, None)
    data = png[:33] + png_chunk(b"iCCP", content) + png[33:]
    assert colour.profile_of(data, PictureFormat.PNG) == b""


def test_a_webp_that_is_damaged_behind_its_picture_has_no_profile() -> None:
    webp = written(PictureFormat.WEBP, None)
    data = webp + webp_chunk(b"ICCP", rgb_profile())[:-10]
    data = data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
    assert colour.profile_of(data, PictureFormat.WEBP) == b""
