"""Rows I-1 to I-18 with pictures in addition to the gallery, sent to a real server with the full model."""

import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from harness import client, gallery, hostile_pictures, processes
from harness.answers import SNIFFED, people
from harness.client import Reply
from harness.peaks import memory_peak, waits
from harness.picture_parts import exif, jpeg_segment, png_chunk
from harness.pictures import built_in, tiny_png, unique_jpeg, unique_png
from harness.recorder import RecordFigure
from harness.server import ServerProcess
from posecluster_inference.machine.memory import worker_share_bytes
from posecluster_inference.worker.tasks.drawing import drawn_size

DETECT = "/v1/detect"
MIB = 1 << 20
FORMS = ("application/json", "image/jpeg", "image/png", "image/webp")
_number = count()

Post = Callable[..., Reply]


@pytest.fixture
def post(pose_server: ServerProcess) -> Iterator[Post]:
    """Post a picture; at the end the next good request is right and no worker has ended."""
    before = _restarts(pose_server)

    def send(body: bytes, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.post(pose_server.url + DETECT, body, headers=named, timeout_seconds=30)

    yield send
    reply = send(unique_jpeg(built_in(), next(_number)))
    assert reply.status == 200
    assert len(people(reply)) == 1
    assert _restarts(pose_server) == before


def _restarts(server: ServerProcess) -> float:
    return sum(server.metrics("worker_restarts_total", cause=cause) for cause in ("crash", "hang", "start"))


def webp_bitstream(image: Any, quality: int) -> bytes:
    """The bitstream chunk of a WebP; a quality over 100 is lossless."""
    return cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()[12:]


@pytest.fixture(scope="module")
def image() -> Any:
    return cv2.imdecode(np.frombuffer(built_in(), np.uint8), cv2.IMREAD_COLOR)


def assert_refused(reply: Reply, status: int, reason: str) -> None:
    assert (reply.status, reply.reason) == (status, reason), reply.body[:200]


@pytest.mark.hostile("I-1", "I-2", "I-6", "I-14")
@pytest.mark.parametrize(
    ("width", "height"),
    [(30_000, 30_000), (12_000, 12_000), (2**31 - 1, 2**31 - 1), (5_000, 5_001), (16_385, 1)],
)
def test_too_many_pixels_are_413(post: Post, width: int, height: int) -> None:
    head = tiny_png()
    png = head[:8] + _ihdr(width, height) + head[33:]
    assert_refused(post(png), 413, "picture_too_large")
    if max(width, height) < 1 << 16:
        for marker in (0xC0, 0xC2):
            jpeg = hostile_pictures.huge_jpeg(width, height, marker=marker)
            assert_refused(post(jpeg), 413, "picture_too_large")


def _ihdr(width: int, height: int) -> bytes:
    return png_chunk(b"IHDR", width.to_bytes(4) + height.to_bytes(4) + b"\x08\0\0\0\0")


@pytest.mark.hostile("I-2")
@pytest.mark.parametrize(("width", "height"), [(0, 8), (8, 0), (0, 0)])
def test_no_pixels_are_422(post: Post, width: int, height: int) -> None:
    head = tiny_png()
    assert_refused(post(head[:8] + _ihdr(width, height) + head[33:]), 422, "undecodable")
    assert_refused(post(hostile_pictures.huge_jpeg(width, height)), 422, "undecodable")


@pytest.mark.hostile("I-3")
def test_pngs_with_contradictory_headers(post: Post) -> None:
    assert_refused(post(hostile_pictures.second_header()), 422, "undecodable")
    reply = post(hostile_pictures.more_pixels())
    assert reply.status == 200
    assert reply.json()["image"] == {"width": 8, "height": 8}


@pytest.mark.hostile("I-4")
def test_thousands_of_text_chunks_are_ignored(post: Post) -> None:
    reply = post(hostile_pictures.text_chunks(tiny_png()))
    assert reply.status == 200
    assert people(reply) == []
    assert_refused(post(hostile_pictures.text_chunks(tiny_png(), 20_000)), 422, "undecodable")


@pytest.mark.hostile("I-5", "I-7")
def test_unsupported_kinds_of_jpeg_are_refused(post: Post) -> None:
    base = built_in()
    for wrong in (
        hostile_pictures.two_frames(base),
        hostile_pictures.frame_changed(base, bits=12),
        hostile_pictures.frame_changed(base, marker=0xC3),
    ):
        assert_refused(post(wrong), 422, "undecodable")
    assert post(hostile_pictures.frame_changed(base)).status == 200  # the same change, to what it was
    scans = jpeg_segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") * 2_000
    assert_refused(post(base[:-2] + scans + base[-2:]), 422, "undecodable")


@pytest.mark.hostile("I-7")
@pytest.mark.parametrize(
    "tiff",
    [
        b"MM\0*\0\0\0\x08\0\0\0\0\0\x08",  # the next directory is this one
        b"MM\0*\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff" + bytes(60),
        exif(3, {0x010E: b"x" * 60})[:-70],
        b"\xff" * 40,
        b"",
    ],
)
def test_broken_exif_is_ignored(post: Post, tiff: bytes) -> None:
    base = built_in()
    expected = people(post(base))
    reply = post(base[:2] + jpeg_segment(0xE1, b"Exif\0\0" + tiff) + base[2:])
    assert reply.status == 200
    if b"*\0\0\0\x08\0\x02" not in tiff:  # a whole orientation entry before the damage may count
        assert people(reply) == expected


@pytest.mark.hostile("I-8")
@pytest.mark.parametrize("percent", [2, 10, 25, 50, 75, 95])
def test_a_cut_picture_after_a_good_one(post: Post, percent: int) -> None:
    good = gallery.picture("single/mp_pose.jpg")
    for data in (good, gallery.picture("formats/pose_rgb8.png"), gallery.picture("formats/pose_lossy.webp")):
        assert post(good).status == 200
        assert_refused(post(data[: len(data) * percent // 100]), 422, "undecodable")


@pytest.mark.hostile("I-9")
def test_jpeg_2000_reaches_no_decoder(post: Post) -> None:
    for data in hostile_pictures.jpeg_2000_broken():
        reply = post(data)
        known = data.startswith(b"\xff\xd8")
        assert_refused(reply, *((422, "undecodable") if known else (415, "unsupported_format")))


@pytest.mark.hostile("I-10")
def test_bad_webp_codes_are_422(post: Post) -> None:
    for data in hostile_pictures.bad_huffman_webp():
        assert_refused(post(data), 422, "undecodable")


@pytest.mark.hostile("I-10")
def test_only_the_first_of_ten_thousand_frames_is_used(post: Post, image: Any) -> None:
    frame = webp_bitstream(image, 90)
    plain = post(b"RIFF" + (4 + len(frame)).to_bytes(4, "little") + b"WEBP" + frame)
    rest = webp_bitstream(np.zeros((8, 8, 3), np.uint8), 101)
    still = hostile_pictures.many_frames(frame, 512, 512, 1)
    black = hostile_pictures.many_frames(rest, 8, 8, 10_000)[44:]  # behind RIFF, VP8X and ANIM
    data = still + black
    reply = post(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])
    assert reply.status == 200
    assert people(reply) == people(plain)
    assert len(people(reply)) == 1


@pytest.mark.hostile("I-11", "I-17")
def test_other_formats_are_415_and_start_nothing(
    post: Post, pose_server: ServerProcess, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("zqx-local-file")
    before = {process.pid for process in processes.in_session(pose_server.pid)}
    bodies = dict(SNIFFED)
    bodies["SVG of a file"] = f'<svg><image href="file://{secret}"/></svg>'.encode()
    bodies["EPS of a file"] = f"%!PS\n({secret}) run\n".encode()
    bodies["path"] = str(secret).encode()
    for name, body in bodies.items():
        reply = post(body, Content_Type="image/jpeg")
        assert_refused(reply, 415, "unsupported_format")
        assert b"zqx" not in reply.body, name
    assert {process.pid for process in processes.in_session(pose_server.pid)} == before


@pytest.mark.hostile("I-17")
@pytest.mark.parametrize("magic", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x04\x00\x00\x00WEBP"])
def test_only_magic_bytes_are_422_and_one_byte_is_415(post: Post, magic: bytes) -> None:
    assert_refused(post(magic), 422, "undecodable")
    assert_refused(post(magic[:1]), 415, "unsupported_format")
    assert_refused(post(b""), 400, "malformed")


@pytest.mark.hostile("I-17", "I-18")
@pytest.mark.parametrize("size", [(1, 1), (1, 4_000), (4_000, 1), (2, 3)])
@pytest.mark.parametrize("form", FORMS)
def test_odd_sizes_are_answered(post: Post, size: tuple[int, int], form: str) -> None:
    reply = post(unique_png(tiny_png(*size), next(_number)), Accept=form)
    assert reply.status == 200
    assert reply.headers.get_content_type() == form
    if form == "application/json":
        people(reply)  # finite


@pytest.mark.hostile("I-12")
def test_names_and_types_are_ignored(post: Post) -> None:
    jpeg = unique_jpeg(built_in(), next(_number))
    expected = people(post(jpeg))
    for content_type in ("image/png", "text/html", "application/json", "application/x-www-form-urlencoded"):
        assert people(post(jpeg, Content_Type=content_type)) == expected
    for tail in (b"PK\x03\x04", b"<script>alert(1)</script>", jpeg, tiny_png()):
        assert people(post(jpeg + tail)) == expected
    for name, part_type in (("a.gif", "image/gif"), ("x.svg", "image/svg+xml"), ("a.exe", "")):
        head = f'--b\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n'
        head += f"Content-Type: {part_type}\r\n" if part_type else ""
        body = head.encode() + b"\r\n" + jpeg + b"\r\n--b--\r\n"
        assert people(post(body, Content_Type="multipart/form-data; boundary=b")) == expected
    for polyglot in (b"%PDF-1.7\n" + jpeg, b"GIF89a" + jpeg, b"\0" + jpeg):
        assert_refused(post(polyglot), 415, "unsupported_format")


@pytest.mark.hostile("I-13")
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_depth_and_channel_shows_the_person(post: Post, image: Any, depth: Any, channels: int) -> None:
    conversion = {1: cv2.COLOR_BGR2GRAY, 3: None, 4: cv2.COLOR_BGR2BGRA}[channels]
    shown = image if conversion is None else cv2.cvtColor(image, conversion)
    shown = shown.astype(depth) * (257 if depth is np.uint16 else 1)
    reply = post(cv2.imencode(".png", shown)[1].tobytes())
    assert reply.status == 200
    assert len(people(reply)) == 1


@pytest.mark.hostile("I-15")
@pytest.mark.parametrize("value", [*range(10), 65_535])
def test_orientations_make_one_upright_size(post: Post, value: int) -> None:
    wide = cv2.imencode(".jpg", np.full((40, 90, 3), 99, np.uint8))[1].tobytes()
    tag = exif(value, {})
    turned = value in range(5, 9)
    size = {"width": 40, "height": 90} if turned else {"width": 90, "height": 40}
    for data in (
        wide[:2] + jpeg_segment(0xE1, b"Exif\0\0" + tag) + wide[2:],
        (png := tiny_png(90, 40))[:33] + png_chunk(b"eXIf", tag) + png[33:],
    ):
        assert post(data).json()["image"] == size


@pytest.mark.hostile("I-16")
@pytest.mark.parametrize("form", FORMS)
def test_private_text_never_comes_back(post: Post, pose_server: ServerProcess, image: Any, form: str) -> None:
    bodies = [
        hostile_pictures.private_jpeg(built_in()),
        hostile_pictures.private_png(cv2.imencode(".png", image)[1].tobytes()),
        hostile_pictures.private_webp(webp_bitstream(image, 90), 512, 512),
    ]
    bodies += [body[:-5] for body in bodies]  # so that they are refused and logged
    bodies += [b"II*\0" + hostile_pictures.private_exif(), hostile_pictures.private_exif()]
    assert all(hostile_pictures.SECRET_MARK in body for body in bodies)
    logged = len(pose_server.logs())
    replies = [post(body, Accept=form) for body in bodies]
    assert [reply.status for reply in replies] == [200] * 3 + [422] * 3 + [415] * 2
    for reply in replies:
        seen = bytes(reply.headers) + reply.body
        assert hostile_pictures.SECRET_MARK not in seen
        assert b"52-31-12" not in seen
    pose_server.wait_until(
        lambda: pose_server.logs()[logged:].count("Request refused") >= 5, "five log lines"
    )
    log = pose_server.logs()
    assert "zqx" not in log
    assert "52-31-12" not in log


@pytest.mark.hostile("I-16")
def test_the_place_in_a_real_photo_never_comes_back(post: Post, pose_server: ServerProcess) -> None:
    data = gallery.picture("formats/pose_exif_gps.jpg")
    start = data.index(b"Exif\0\0")
    length = int.from_bytes(data[start - 2 : start])
    pieces = {piece for piece in data[start + 6 : start + length].split(b"\0") if len(piece) >= 6}
    assert pieces
    for form in FORMS:
        reply = post(data, Accept=form)
        assert reply.status == 200
        assert not any(piece in bytes(reply.headers) + reply.body for piece in pieces)
    assert not any(piece.decode("latin-1") in pose_server.logs() for piece in pieces)


@pytest.mark.hostile("I-18")
def test_pictures_without_people_have_no_landmarks(post: Post) -> None:
    rng = np.random.default_rng(5)
    for array in (
        np.zeros((300, 400, 3), np.uint8),
        np.full((300, 400, 3), 255, np.uint8),
        rng.integers(0, 256, (300, 400, 3), np.uint8),
    ):
        reply = post(cv2.imencode(".png", array)[1].tobytes())
        assert reply.status == 200
        assert people(reply) == []


@pytest.fixture(scope="module")
def largest() -> dict[str, bytes]:
    """The largest pictures there are: a PNG, and the JPEG that takes most memory to decode."""
    columns = np.mgrid[0:5_000, 0:5_000][1].astype(np.uint8)
    colour = np.dstack([columns, columns[:, ::-1], columns.T])
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_QUALITY, 60]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return {
        "png": hostile_pictures.large_png(5_000, 5_000),
        "jpeg": cv2.imencode(".jpg", colour, options)[1].tobytes(),
    }


@pytest.mark.serial
@pytest.mark.hostile("I-14")
@pytest.mark.parametrize("form", ["application/json", "image/png"])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_the_largest_pictures_at_once_in_every_worker(
    pose_server: ServerProcess,
    largest: dict[str, bytes],
    record_figure: RecordFigure,
    form: str,
    kind: str,
    long_run: bool,
) -> None:
    """In the memory that a pod of 1 GiB gives two workers; others are answered meanwhile."""
    before = _restarts(pose_server)

    def send(number: int) -> Reply:
        return client.post(
            pose_server.url + DETECT,
            largest[kind] + b"%d" % number,
            headers={"Accept": form},
            timeout_seconds=40,
        )

    begin = time.monotonic()
    with memory_peak(pose_server) as memory, waits(pose_server) as others, ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(send, [next(_number), next(_number)]))
    seconds = time.monotonic() - begin

    assert [reply.status for reply in replies] == [200, 200], [reply.body[:200] for reply in replies]
    for reply in replies:
        if form == "application/json":
            assert reply.json()["image"] == {"width": 5_000, "height": 5_000}
        else:
            assert reply.headers["X-Original-Image-Size"] == "5000x5000"
            assert reply.body[16:24] == struct.pack(">II", *drawn_size(5_000, 5_000))
    assert _restarts(pose_server) == before
    assert others.failed == 0
    assert seconds < (10 if long_run else 30)
    assert max(others.seconds) < (0.25 if long_run else 1.0)
    assert memory.growth_all < 2 * worker_share_bytes(1 << 30, workers=2)
    name = f"25 megapixels, {kind} to {form}, two at once"
    record_figure(f"{name}: time", seconds, bar="<= 10 s", unit="s", sample=2)
    record_figure(f"{name}: memory", memory.growth_all / MIB, bar="<= 2 shares of 317", unit="MiB", sample=2)
    record_figure(f"{name}: others wait at most", 1000 * max(others.seconds), bar="<= 250", unit="ms")


@pytest.mark.hostile("I-14")
@pytest.mark.control
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_control_a_smaller_memory_share_is_not_enough(
    start: Any, full_model: Path, largest: dict[str, bytes], kind: str
) -> None:
    """Control of the memory: with a third of the share such a picture is not answered, and it says why."""
    server = start(workers=1, worker_memory_bytes=100 * MIB)
    reply = client.post(server.url + DETECT, largest[kind], timeout_seconds=40)
    # 503: the decoder got its memory, and then the model, which cannot live without it, ended
    assert (reply.status, reply.reason) in ((413, "picture_too_large"), (503, "worker_crashed"))
