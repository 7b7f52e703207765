"""Header checks of every test picture, and the rules that all formats share."""

import random
import time
import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.answers import SNIFFED
from harness.gallery import manifest, names, picture
from harness.pictures import tiny_png
from posecluster_inference.errors import Reason, Refusal, Undecodable
from posecluster_inference.pictures import Header, PictureFormat, inspect, sanitised

LIMITS = {"max_pixels": 25_000_000, "max_side": 16_384}
PICTURES = names()


def refusal_of(data: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        inspect(data, **LIMITS)
    return caught.value


def decoded(data: bytes) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.hostile("I-1", "I-2", "I-5", "I-6", "I-7", "I-8", "I-11", "I-12", "I-13", "I-14", "I-17", "I-18")
@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_answered_as_stated(name: str) -> None:
    entry = manifest()[name]
    if entry.by_header:
        assert {refusal_of(picture(name)).reason} == entry.answers
        return
    header = inspect(picture(name), **LIMITS)
    assert entry.size in (None, (header.width, header.height))


@pytest.mark.parametrize("name", [n for n in PICTURES if n.endswith((".png", ".webp")) and "large" not in n])
def test_sanitising_changes_no_pixel(name: str) -> None:
    data = picture(name)
    try:
        header = inspect(data, **LIMITS)
        clean = sanitised(data, header)
    except (Refusal, Undecodable):
        assert not manifest()[name].is_served
        return
    before, after = decoded(data), decoded(clean)
    assert (before is None) == (after is None)
    if before is not None:
        assert np.array_equal(before, after)
    assert inspect(clean, **LIMITS) == header
    assert sanitised(clean, header) is clean


@pytest.mark.hostile("I-11", "I-17")
@pytest.mark.parametrize("name", SNIFFED)
def test_other_formats_are_415(name: str) -> None:
    refusal = refusal_of(SNIFFED[name])
    assert (refusal.status, refusal.reason) == (415, Reason.UNSUPPORTED_FORMAT)


@pytest.mark.hostile("I-17")
@pytest.mark.parametrize("magic", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x04\x00\x00\x00WEBP"])
def test_a_file_with_only_magic_bytes_is_422(magic: bytes) -> None:
    refusal = refusal_of(magic)
    assert (refusal.status, refusal.reason) == (422, Reason.UNDECODABLE)


def test_an_empty_body_is_400() -> None:
    refusal = refusal_of(b"")
    assert (refusal.status, refusal.reason) == (400, Reason.MALFORMED)


@pytest.mark.hostile("I-14")
@pytest.mark.parametrize(
    ("width", "height", "passes"),
    [
        (5_000, 5_000, True),
        (5_000, 5_001, False),
        (16_384, 1_525, True),
        (16_385, 1, False),
        (1, 16_385, False),
        (16_384, 1, True),
    ],
)
def test_the_size_limits_are_exact(width: int, height: int, passes: bool) -> None:
    encoded = {
        "png": tiny_png(width, height),
        "jpg": cv2.imencode(".jpg", np.zeros((height, width), np.uint8))[1].tobytes(),
    }
    if max(width, height) < 1 << 14:  # WebP has no larger side
        encoded["webp"] = cv2.imencode(".webp", np.zeros((height, width, 3), np.uint8))[1].tobytes()
    for data in encoded.values():
        if passes:
            header = inspect(data, **LIMITS)
            assert (header.width, header.height) == (width, height)
        else:
            refusal = refusal_of(data)
            assert (refusal.status, refusal.reason) == (413, Reason.PICTURE_TOO_LARGE)
            assert f"{width} x {height}" in refusal.detail
            assert "25000000" in refusal.detail
            assert "16384" in refusal.detail


@pytest.mark.hostile("I-8")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("percent", [2, 10, 25, 50, 75, 95])
def test_a_picture_cut_off_anywhere_is_422(suffix: str, percent: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    data = cv2.imencode(suffix, noise)[1].tobytes()
    assert inspect(data, **LIMITS).width == 80
    cut = data[: max(20, len(data) * percent // 100)]
    assert refusal_of(cut).reason == Reason.UNDECODABLE


@pytest.mark.hostile("I-12")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_trailing_bytes_are_ignored(suffix: str) -> None:
    data = cv2.imencode(suffix, np.zeros((60, 80, 3), np.uint8))[1].tobytes()
    for tail in (b"\0", data, b"PK\x03\x04 <script>", b"\xff" * 99):
        assert inspect(data + tail, **LIMITS) == inspect(data, **LIMITS)


@pytest.mark.hostile("I-16")
def test_a_refusal_never_echoes_the_picture() -> None:
    refused = [name for name in PICTURES if manifest()[name].by_header]
    assert len(refused) >= 30
    for name in refused:
        detail = refusal_of(picture(name)).detail
        assert detail.isprintable()
        assert detail.endswith(".")
        assert len(detail) < 200
    secret = b"\xff\xd8\xff\xfe\x00\x0eSECRET-COMMENT"
    assert "SECRET" not in refusal_of(secret).detail


def test_a_large_body_is_read_without_a_copy() -> None:
    data = (
        cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1].tobytes()[:-2] + bytes(10 << 20) + b"\xff\xd9"
    )
    tracemalloc.start()
    try:
        inspect(data, **LIMITS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 16


def test_an_ordinary_photo_takes_a_fraction_of_a_millisecond() -> None:
    data = picture("single/mp_pose.jpg")
    best = min(_seconds(data) for _ in range(20))
    assert best < 0.001 * (len(data) / 137_000)  # nominal: a tenth of that


def _seconds(data: bytes) -> float:
    start = time.process_time()
    inspect(data, **LIMITS)
    return time.process_time() - start


SEEDS = {
    suffix: cv2.imencode(suffix, np.full((24, 32, 3), 99, np.uint8))[1].tobytes()
    for suffix in (".jpg", ".png", ".webp")
}


def _answer(data: bytes) -> Header | Refusal | Undecodable:
    try:
        header = inspect(data, **LIMITS)
        clean = sanitised(data, header)
    except (Refusal, Undecodable) as error:
        return error
    assert inspect(clean, **LIMITS) == header
    return header


@given(
    prefix=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\x00\x00\x00WEBPVP8X"]),
    body=st.binary(max_size=300),
)
def test_any_bytes_give_a_header_or_a_refusal(prefix: bytes, body: bytes) -> None:
    assert isinstance(_answer(prefix + body), Header | Refusal | Undecodable)


@given(
    suffix=st.sampled_from(sorted(SEEDS)),
    edits=st.lists(
        st.tuples(st.integers(0, 1 << 12), st.integers(0, 5), st.binary(max_size=6)), min_size=1, max_size=6
    ),
)
def test_any_mutation_gives_a_header_or_a_refusal(suffix: str, edits: list[tuple[int, int, bytes]]) -> None:
    data = bytearray(SEEDS[suffix])
    for position, removed, inserted in edits:
        position %= len(data) + 1
        data[position : position + removed] = inserted
    assert isinstance(_answer(bytes(data)), Header | Refusal | Undecodable)


def test_every_flipped_byte_gives_a_header_or_a_refusal() -> None:
    flips = random.Random(3)
    seen = set()
    for seed in SEEDS.values():
        for position in range(len(seed)):
            data = bytearray(seed)
            data[position] ^= 1 << flips.randrange(8)
            seen.add(type(_answer(bytes(data))))
    assert {Header, Refusal} <= seen


def test_what_passes_declares_what_the_decoder_sees() -> None:
    """No flipped byte passes the header check with another size than the decoder's."""
    compared = 0
    for suffix, seed in SEEDS.items():
        for position in range(0, min(len(seed), 400)):
            data = bytearray(seed)
            data[position] ^= 0x15
            header = _answer(bytes(data))
            if isinstance(header, Header) and header.width * header.height < 1_000_000:
                image = decoded(sanitised(bytes(data), header))
                if image is not None:
                    assert image.shape[:2] == (header.height, header.width), (suffix, position)
                    compared += 1
    assert compared >= 100


def test_formats_are_the_three_of_the_contract() -> None:
    assert {str(kind) for kind in PictureFormat} == {"jpeg", "png", "webp"}
