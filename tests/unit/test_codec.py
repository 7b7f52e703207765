"""Decoder and encoder: right pixels for every kind of picture, and no pixels of the previous one."""

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness import gallery, pictures
from posecluster_inference import pictures as picture_checks
from posecluster_inference.errors import InvalidSetting, Undecodable
from posecluster_inference.pictures import Header, PictureFormat
from posecluster_inference.worker import codec
from posecluster_inference.worker.tasks.drawing import drawn_size

pytestmark = pytest.mark.unit
codec.configure(max_pixels=25_000_000, max_side=8_192)
import cv2  # noqa: E402  # after configure(), as in a worker

Picture = NDArray[np.uint8]
_TIFF_HEAD = b"MM\0*\0\0\0\x08\0\x01"


def decode(data: bytes) -> Picture:
    return codec.decode(data, picture_checks.inspect(data, max_pixels=25_000_000, max_side=8_192))


@pytest.fixture(scope="module")
def sample() -> Picture:
    """A smooth picture, wider than high, whose eight orientations all differ."""
    rows, columns = np.mgrid[0:60, 0:100]
    return np.dstack([columns * 2, rows * 4, np.where(rows + columns < 60, 200, 20)]).astype(np.uint8)


def write(picture: Picture, suffix: str, *options: int) -> bytes:
    return bytes(cv2.imencode(suffix, picture[..., ::-1], list(options))[1])


def oriented(data: bytes, value: int) -> bytes:
    """Add an EXIF orientation to a JPEG or PNG."""
    exif = _TIFF_HEAD + b"\x01\x12\0\x03\0\0\0\x01" + value.to_bytes(2, "big") + bytes(6)
    if data.startswith(b"\xff\xd8"):
        payload = b"Exif\0\0" + exif
        return data[:2] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + data[2:]
    return data[:33] + pictures.png_chunk(b"eXIf", exif) + data[33:]


_UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
    8: lambda p: np.rot90(p, 1),
    0: lambda p: p,
    9: lambda p: p,
    65_535: lambda p: p,
}


@pytest.mark.hostile("I-15")
@pytest.mark.parametrize("value", _UPRIGHT)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_orientation_is_honoured(sample: Picture, suffix: str, value: int) -> None:
    plain = write(sample, suffix)
    expected = _UPRIGHT[value](decode(plain))
    assert np.array_equal(decode(oriented(plain, value)), expected)


@pytest.mark.hostile("I-15")
@pytest.mark.parametrize("file", gallery.names(folder="exif/"))
def test_orientation_of_stored_files(file: str) -> None:
    """Each shows the same upright scene: the difference is that of JPEG quality."""
    upright = decode(gallery.picture("exif/orientation_1.jpg"))
    picture = decode(gallery.picture(file))
    if picture.shape != upright.shape:
        upright = cv2.resize(upright, picture.shape[1::-1], interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    difference = np.abs(picture.astype(int) - upright).mean()
    assert difference < 4
    turned = np.abs(picture[::-1, ::-1].astype(int) - upright).mean()
    assert turned > 4 * difference + 10  # the bar above can fail


@pytest.mark.hostile("I-13")
@pytest.mark.parametrize(
    "file",
    gallery.names(served=True),
)
def test_pixels_are_those_of_opencv(file: str) -> None:
    """So that landmarks equal MediaPipe's in-process; also 16-bit, CMYK, palette, alpha, interlaced."""
    data = gallery.picture(file)
    picture = decode(data)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert expected is not None
    assert np.array_equal(picture, expected[..., ::-1])


@pytest.mark.hostile("I-13")
def test_depths_and_channels_give_the_same_colours(sample: Picture) -> None:
    wide = sample.astype(np.uint16) * 257
    assert np.array_equal(decode(bytes(cv2.imencode(".png", wide[..., ::-1])[1])), sample)
    alpha = np.dstack([sample[..., ::-1], np.full(sample.shape[:2], 7, np.uint8)])
    assert np.array_equal(decode(bytes(cv2.imencode(".png", alpha)[1])), sample)
    grey = sample[..., 1]
    assert np.array_equal(decode(bytes(cv2.imencode(".png", grey)[1])), np.dstack([grey] * 3))
    bits = np.where(grey > 99, 255, 0).astype(np.uint8)
    one_bit = bytes(cv2.imencode(".png", bits, [cv2.IMWRITE_PNG_BILEVEL, 1])[1])
    assert one_bit[24] == 1  # the bit depth in IHDR
    assert np.array_equal(decode(one_bit), np.dstack([bits] * 3))


def short_png(width: int, height: int, rows: int) -> bytes:
    """A well-formed PNG with fewer rows of pixels than it declares."""
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    data = zlib.compress((b"\0" + b"\xee" * width * 3) * rows)
    chunks = (b"IHDR", head), (b"IDAT", data), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(pictures.png_chunk(*chunk) for chunk in chunks)


def short_jpeg(data: bytes, keep: float) -> bytes:
    """A JPEG whose scan ends early but which has its end marker."""
    start = data.index(b"\xff\xda") + 14
    return data[: start + int((len(data) - start) * keep)].rstrip(b"\xff") + b"\xff\xd9"


def broken_pictures(sample: Picture) -> Iterator[tuple[str, bytes]]:
    progressive = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    files = {
        "jpeg": write(sample, ".jpg"),
        "progressive": write(sample, ".jpg", *progressive),
        "png": write(sample, ".png"),
        "webp": write(sample, ".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
        "lossless": write(sample, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    }
    for name, data in files.items():
        for share in (0.1, 0.25, 0.5, 0.75, 0.95):
            yield f"{name} cut at {share}", data[: int(len(data) * share)]
    for name in ("jpeg", "progressive"):
        for keep in (0.0, 0.3, 0.7):
            yield f"{name} with {keep} of its scan", short_jpeg(files[name], keep)
    for rows in (0, 1, 59):
        yield f"png with {rows} rows", short_png(100, 60, rows)


@pytest.mark.acceptance(10)
@pytest.mark.hostile("I-8")
def test_nothing_of_the_previous_picture_shows(sample: Picture) -> None:
    """Decoding a broken file after a white and after a black picture gives the same, or nothing."""
    tried = 0
    header = Header(PictureFormat.PNG, 100, 60)
    for name, data in broken_pictures(sample):
        kind = PictureFormat.WEBP if data[:4] == b"RIFF" else header.format
        kind = PictureFormat.JPEG if data[:2] == b"\xff\xd8" else kind
        seen = []
        for shade in (255, 0):
            before = np.full_like(sample, shade)
            for suffix in (".png", ".jpg", ".webp"):
                decode(write(before, suffix))
            try:
                seen.append(codec.decode(data, Header(kind, 100, 60)).tobytes())
            except Undecodable:
                seen.append(b"")
        assert seen[0] == seen[1], name
        tried += 1
    assert tried == 34


def test_the_decoded_size_must_match_the_header(sample: Picture) -> None:
    data = write(sample, ".png")
    assert codec.decode(data, Header(PictureFormat.PNG, 60, 100)).shape == (60, 100, 3)  # turned is fine
    with pytest.raises(Undecodable, match="size"):
        codec.decode(data, Header(PictureFormat.PNG, 100, 61))


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"GIF89a", b"\x89PNG\r\n\x1a\n", bytes(100)])
def test_rubbish_is_undecodable(data: bytes) -> None:
    for kind in PictureFormat:
        with pytest.raises(Undecodable):
            codec.decode(data, Header(kind, 1, 1))


@pytest.mark.hostile("I-16")
def test_decoders_print_nothing(sample: Picture, capfd: pytest.CaptureFixture[str]) -> None:
    """libpng and libjpeg would print warnings that quote the file."""
    png = write(sample, ".png")
    profile = b"SECRET\0\0" + zlib.compress((200).to_bytes(4, "big") + bytes(196), 0)
    png = png[:33] + pictures.png_chunk(b"iCCP", profile) + png[33:]
    jpeg = short_jpeg(write(sample, ".jpg"), 0.7)
    for data in (png, jpeg):
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    printed = capfd.readouterr().err
    assert "SECRET" in printed  # so they do print
    assert "JPEG" in printed
    codec.decode(png, Header(PictureFormat.PNG, 100, 60))
    with suppress(Undecodable):
        codec.decode(jpeg, Header(PictureFormat.JPEG, 100, 60))
    assert capfd.readouterr() == ("", "")


def test_opencv_gets_our_pixel_limits() -> None:
    """In a process of its own, because OpenCV reads them once. Pictures beyond them are refused."""
    script = (
        "import numpy as np; from posecluster_inference.worker import codec\n"
        "codec.configure(max_pixels=2_000_000, max_side=2_000)\n"
        "import cv2\n"
        "for shape in ((1000, 2000), (1500, 1500), (10, 2001), (2001, 10)):\n"
        "    data = cv2.imencode('.png', np.zeros((*shape, 3), np.uint8))[1]\n"
        "    try: print(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) is not None)\n"
        "    except cv2.error: print('refused')\n"
        "print(cv2.getNumThreads())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(codec.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["True", "refused", "refused", "refused", "1"]


def test_old_opencv_is_refused() -> None:
    for version in ("4.12.0", "4.13.1", "5.0.0", "10.1.2-dev"):
        codec.check_version(version)
    for version in ("4.11.0", "4.2.0", "3.99.0", "", "unknown"):
        with pytest.raises(InvalidSetting, match=r"4\.12"):
            codec.check_version(version)


@pytest.mark.parametrize("kind", PictureFormat)
def test_encode_has_right_format_size_and_colours(sample: Picture, kind: PictureFormat) -> None:
    before = sample.copy()
    data = codec.encode(sample, kind)
    assert np.array_equal(sample, before)
    assert picture_checks.inspect(data, max_pixels=10_000, max_side=100) == Header(kind, 100, 60)
    difference = np.abs(decode(data).astype(int) - sample).mean()
    assert difference == 0 if kind is PictureFormat.PNG else difference < 6
    assert not any(word in data for word in (b"Exif", b"eXIf", b"EXIF", b"tEXt", b"ICC"))


@pytest.mark.parametrize("kind", PictureFormat)
@pytest.mark.parametrize(("width", "height"), [(16_384, 1), (1, 16_384), (5_712, 4_284), (1_920, 1_080)])
def test_whatever_is_accepted_can_be_drawn(kind: PictureFormat, width: int, height: int) -> None:
    """WebP holds sides up to 16,383 only."""
    small = codec.shrunk(np.full((height, width, 3), 90, np.uint8))
    assert small.shape[1::-1] == drawn_size(width, height)
    assert decode(codec.encode(small, kind)).shape == small.shape


def test_noise_stays_within_three_bytes_a_pixel() -> None:
    """What a drawn answer can weigh: noise does not compress."""
    noise = np.random.default_rng(1).integers(0, 256, (1_080, 1_920, 3), np.uint8)
    for kind in PictureFormat:
        assert len(codec.encode(noise, kind)) < 1.01 * noise.nbytes
