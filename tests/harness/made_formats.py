"""Test pictures that are generated: formats, orientations, sizes, and pictures without people.

They show the generated scene or nothing; the repository stores only photos.
"""

from collections.abc import Callable

import cv2
import numpy as np

from harness.picture_parts import (
    PNG_END,
    WEBP_ANIMATED,
    WEBP_ANIMATION,
    WEBP_EXIF,
    exif,
    png_file,
    png_header,
    png_pixels,
    webp_canvas,
    webp_chunk,
    webp_file,
    webp_frame,
)
from harness.pictures import png_chunk
from harness.scene import (
    HALF,
    HIGH,
    WIDE,
    Picture,
    Pixels,
    encoded,
    faded_scene,
    grey_scene,
    half_scene,
    jpeg_of,
    png_of,
    png_rows,
    refused,
    shows,
    webp_of,
    whole_scene,
    with_exif,
)
from posecluster_inference.errors import Reason


def _sixteen_bits(picture: Pixels, colour: int) -> bytes:
    return png_of(png_rows((picture.astype(np.uint16) * 257).astype(">u2")), HALF, bits=16, colour=colour)


def _grey_alpha() -> bytes:
    return png_of(png_rows(np.dstack([grey_scene(), faded_scene()[..., 3]])), HALF, colour=4)


def _palette() -> bytes:
    """252 colours: 6 of red, 7 of green, 6 of blue."""
    levels = np.array([6, 7, 6])
    steps = np.rint(half_scene()[..., ::-1] / 255 * (levels - 1)).astype(np.uint8)
    colours = np.stack(np.meshgrid(*(np.linspace(0, 255, n) for n in levels), indexing="ij"), -1)
    table = png_chunk(b"PLTE", colours.reshape(-1, 3).astype(np.uint8).tobytes())
    indices = ((steps[..., 0] * 7 + steps[..., 1]) * 6 + steps[..., 2]).astype(np.uint8)
    return png_file(png_header(*HALF, colour=3), table, png_pixels(png_rows(indices)), PNG_END)


def _interlaced() -> bytes:
    """Adam7: (first row, first column, row step, column step) of its seven passes."""
    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    pixels = half_scene()[..., ::-1]
    raw = b"".join(png_rows(pixels[y::down, x::right]) for y, x, down, right in passes)
    return png_of(raw, HALF, colour=2, interlaced=True)


def _shifted() -> list[Pixels]:
    """Three frames in which the half scene moves to the right."""
    return [np.roll(half_scene(), 6 * step, axis=1) for step in range(3)]


def _animated_webp() -> bytes:
    frames = [webp_frame(*HALF, webp_of(frame, 70)[12:]) for frame in _shifted()]
    return webp_file(webp_canvas(*HALF, WEBP_ANIMATED), webp_chunk(b"ANIM", WEBP_ANIMATION), b"".join(frames))


def _animation(suffix: str) -> bytes:
    animation = cv2.Animation()
    animation.frames, animation.durations = _shifted(), [100] * 3
    encoded, data = cv2.imencodeanimation(suffix, animation)
    assert encoded
    return data.tobytes()


def _enlarged(width: int, *, noise: bool) -> bytes:
    """The scene as large as a phone's photo, with a sensor's noise so that decoding costs as much."""
    height = round(width * HIGH / WIDE)
    large = cv2.resize(whole_scene(), (width, height), interpolation=cv2.INTER_CUBIC)
    if noise:
        grain = np.random.default_rng(7).normal(0, 5, (512, width, 1)).astype(np.int16)
        for top in range(0, height, len(grain)):
            part = large[top : top + len(grain)]
            part[:] = np.clip(part + grain[: len(part)], 0, 255)
    return _oriented(jpeg_of(large, 80), 1)


def _oriented(jpeg: bytes, orientation: int) -> bytes:
    return with_exif(jpeg, exif(orientation, {}))


def _located() -> bytes:
    """An invented camera and place."""
    texts = {0x010F: b"ExampleCam", 0x0110: b"Test camera 1"}
    return with_exif(
        jpeg_of(whole_scene(), 88), exif(1, texts, {0x001D: b"2020:02:30", 0x001B: b"48-51-30-N 2-17-40-E"})
    )


# how the scene is stored so that a viewer that honours the tag shows it upright
_STORED_AS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(p.swapaxes(0, 1), 2),
    8: lambda p: np.rot90(p, 3),
}


def _turned(picture: Pixels, orientation: int) -> Pixels:
    return np.ascontiguousarray(_STORED_AS[orientation](picture))


def _oriented_png() -> bytes:
    data = encoded(".png", _turned(half_scene(), 6))
    return data[:33] + png_chunk(b"eXIf", exif(6, {})) + data[33:]


def _oriented_webp() -> bytes:
    bitstream = webp_of(_turned(whole_scene(), 6))[12:]
    return webp_file(webp_canvas(HIGH, WIDE, WEBP_EXIF), bitstream, webp_chunk(b"EXIF", exif(6, {})))


def _formats() -> dict[str, Picture]:
    whole, half = (WIDE, HIGH), HALF
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
    shown = {
        "baseline_420.jpg": (whole, lambda: jpeg_of(whole_scene(), 92)),
        "baseline_444.jpg": (
            whole,
            lambda: jpeg_of(whole_scene(), 92, sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        ),
        "progressive.jpg": (whole, lambda: jpeg_of(whole_scene(), 90, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
        "restart_markers.jpg": (whole, lambda: jpeg_of(whole_scene(), 90, cv2.IMWRITE_JPEG_RST_INTERVAL, 1)),
        "q15.jpg": (whole, lambda: jpeg_of(whole_scene(), 15)),
        "gray.jpg": (whole, lambda: jpeg_of(cv2.cvtColor(whole_scene(), cv2.COLOR_BGR2GRAY))),
        "rgb8.png": (half, lambda: encoded(".png", half_scene())),
        "rgba8.png": (half, lambda: encoded(".png", faded_scene())),
        "gray_alpha.png": (half, _grey_alpha),
        "palette.png": (half, _palette),
        "rgb16.png": (half, lambda: _sixteen_bits(half_scene()[..., ::-1], 2)),
        "gray16.png": (half, lambda: _sixteen_bits(grey_scene(), 0)),
        "interlaced.png": (half, _interlaced),
        "apng.png": (half, lambda: _animation(".png")),
        "lossy.webp": (whole, lambda: webp_of(whole_scene())),
        "lossless.webp": (half, lambda: webp_of(half_scene(), 101)),
        "alpha.webp": (half, lambda: webp_of(faded_scene())),
        "animated.webp": (half, _animated_webp),
    }
    others = {
        "pose.gif": lambda: encoded(".gif", half_scene()),
        "pose_animated.gif": lambda: _animation(".gif"),
        "pose.bmp": lambda: encoded(".bmp", half_scene()),
        "pose_lzw.tif": lambda: encoded(".tif", half_scene()),
        "pose.avif": lambda: encoded(".avif", half_scene()),
    }
    one_bit = Picture(
        lambda: encoded(".png", (grey_scene() > 127).astype(np.uint8) * 255, cv2.IMWRITE_PNG_BILEVEL, 1),
        size=half,
        rows=("I-13",),
    )
    return {
        **{f"formats/pose_{name}": shows(size, make, "I-13") for name, (size, make) in shown.items()},
        **{
            f"formats/{name}": refused(Reason.UNSUPPORTED_FORMAT, make, "I-11")
            for name, make in others.items()
        },
        "formats/pose_1bit.png": one_bit,
        "formats/pose_exif_gps.jpg": shows(whole, _located, "I-16"),
    }


def _orientations() -> dict[str, Picture]:
    def jpeg(orientation: int) -> Picture:
        stored = _STORED_AS.get(orientation, _STORED_AS[1])
        size = (WIDE, HIGH) if orientation not in (5, 6, 7, 8) else (HIGH, WIDE)
        return shows(
            size, lambda: _oriented(jpeg_of(np.ascontiguousarray(stored(whole_scene()))), orientation), "I-15"
        )

    return {
        **{f"exif/orientation_{value}.jpg": jpeg(value) for value in _STORED_AS},
        **{f"exif/orientation_invalid_{value}.jpg": jpeg(value) for value in (0, 9)},
        "exif/orientation_6.png": shows((HALF[1], HALF[0]), _oriented_png, "I-15"),
        "exif/orientation_6.webp": shows((HIGH, WIDE), _oriented_webp, "I-15"),
    }


def _nobody() -> dict[str, Picture]:
    ramp = np.tile(np.linspace(0, 255, 640, dtype=np.uint8), (480, 1))
    noise = np.random.default_rng(7).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    plain = {
        "white.png": ((640, 480), lambda: encoded(".png", np.full((480, 640, 3), 255, np.uint8))),
        "black.jpg": ((640, 480), lambda: jpeg_of(np.zeros((480, 640, 3), np.uint8))),
        "noise.jpg": ((320, 240), lambda: jpeg_of(noise, 70)),
        "gradient.png": ((640, 480), lambda: encoded(".png", np.dstack([ramp, ramp[:, ::-1], ramp]))),
    }
    return {
        f"none/synthetic_{name}": Picture(make, size=size, rows=("I-18",))
        for name, (size, make) in plain.items()
    }


def made_formats() -> dict[str, Picture]:
    """By file name such as "formats/pose_palette.png"."""
    return {
        **_formats(),
        **_orientations(),
        **_nobody(),
        "large/pose_11mp.jpg": shows((4_032, 2_689), lambda: _enlarged(4_032, noise=True)),
        "large/pose_43mp.jpg": refused(
            Reason.PICTURE_TOO_LARGE, lambda: _enlarged(8_064, noise=False), "I-14"
        ),
    }
