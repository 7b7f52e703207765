"""Check 10, row I-8: no pixels of one caller's picture reach the next caller."""

import os
import signal
import struct
from collections import Counter

import cv2
import numpy as np
import pytest

from harness import client, pictures
from harness.faults import live_pids

_SHARES = (0.10, 0.25, 0.50, 0.75, 0.95)
_ORDERS, _LONG_ORDERS = 40, 200
_SIZES = ((160, 120), (97, 203))


def _encodings(rgb):
    """A picture in each form whose decoder works in its own way."""
    yield "jpeg", cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    yield "progressive", cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    yield "restarts", cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_RST_INTERVAL, 4])[1].tobytes()
    yield "png", cv2.imencode(".png", rgb)[1].tobytes()
    yield "webp", cv2.imencode(".webp", rgb, [cv2.IMWRITE_WEBP_QUALITY, 80])[1].tobytes()
    yield "lossless webp", cv2.imencode(".webp", rgb, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()


def _samples(rng):
    """(name, bytes): people and noise, in several sizes and every encoding."""
    person = cv2.imdecode(np.frombuffer(pictures.built_in(), np.uint8), cv2.IMREAD_COLOR)
    found = []
    for width, height in _SIZES:
        noise = np.random.default_rng(rng.randrange(1 << 32)).integers(0, 256, (height, width, 3), np.uint8)
        for subject, picture in (("person", cv2.resize(person, (width, height))), ("noise", noise)):
            found += [(f"{subject} {width} {name}", data) for name, data in _encodings(picture)]
    return found


def _cut(data, share):
    """The first `share` of a picture's content, but complete in form, so that only a decoder notices."""
    if data.startswith(b"\xff\xd8"):
        scan = data.index(b"\xff\xda")
        return data[: scan + 20 + int((len(data) - scan - 20) * share)].rstrip(b"\xff") + b"\xff\xd9"
    if data.startswith(b"RIFF"):
        content = data[20 : 20 + int((len(data) - 20) * share) // 2 * 2]
        sizes = struct.pack("<I", len(content) + 12), struct.pack("<I", len(content))
        return b"RIFF" + sizes[0] + data[8:16] + sizes[1] + content
    start = data.index(b"IDAT") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    content = data[start + 8 : start + 8 + int(length * share)]
    return data[:start] + pictures.png_chunk(b"IDAT", content) + pictures.png_chunk(b"IEND", b"")


def _ask(server, body):
    """The drawn picture as PNG, so that each pixel of what was decoded shows."""
    return client.post(
        server.url + "/v1/detect", body, headers={"Accept": "image/png", "Cache-Control": "no-cache"}
    )


def _fresh(server, body):
    """The answer of a worker that has seen nothing but the built-in picture."""
    old = live_pids(server)
    os.kill(old[0], signal.SIGKILL)
    server.wait_until(lambda: live_pids(server) not in ([], old), "a fresh worker")
    return _ask(server, body)


def _leaks(server, fresh_server, orders, rng):
    """What differed from a fresh worker's answer, and how the truncated pictures were answered.

    A file that just ends is refused by its form, before any decoder: every fourth order closes it (`_cut`).
    """
    samples = _samples(rng)
    fresh, leaks, answers = {}, [], Counter()
    for order in range(orders):
        (name_a, first), (name_b, second) = rng.sample(samples, 2)
        reaches_decoder = order % 4 == 0
        for number, share in enumerate(rng.sample(_SHARES, len(_SHARES))):
            if reaches_decoder or number == 0:  # else it is still the last that the worker has decoded
                assert _ask(server, first).status == 200, name_a
            cut = _cut(second, share) if reaches_decoder else second[: int(len(second) * share)]
            reply = _ask(server, cut)
            answers[reply.status] += 1
            if reply.status == 422:
                continue
            if cut not in fresh:
                fresh[cut] = _fresh(fresh_server, cut)
            if (reply.status, reply.body) != (fresh[cut].status, fresh[cut].body):
                leaks.append(f"order {order}: {name_b} cut at {share:.0%} after {name_a}: {reply.status}")
    return leaks, answers


@pytest.mark.acceptance(10)
@pytest.mark.hostile("I-8")
@pytest.mark.usefixtures("full_model")
def test_a_truncated_picture_shows_nothing_of_the_one_before(start, rng, record_figure, long_run):
    server = start(workers=1, model_variant="lite", recycle_requests=0, recycle_growth_percent=0)
    fresh_server = start(workers=1, model_variant="lite")
    pid = live_pids(server)
    orders = _LONG_ORDERS if long_run else _ORDERS
    leaks, answers = _leaks(server, fresh_server, orders, rng)
    assert leaks == []
    assert live_pids(server) == pid, "one worker decoded them all"
    assert set(answers) <= {200, 422}
    assert answers.total() == orders * len(_SHARES)
    record_figure(
        "answers that differ from a fresh worker's",
        len(leaks),
        bar="0",
        sample=f"{orders} orders, {answers[422]} refused, {answers[200]} answered, same pid",
    )


@pytest.mark.acceptance(10)
@pytest.mark.control
def test_a_decoder_that_keeps_its_buffer_is_caught(start, rng):
    server = start(workers=1, engine="fault_engines:KeepsBuffer", recycle_requests=0)
    fresh_server = start(workers=1, engine="stub")
    leaks, answers = _leaks(server, fresh_server, 4, rng)
    assert leaks
    assert answers[200]


@pytest.mark.acceptance(10)
@pytest.mark.usefixtures("full_model")
def test_a_whole_picture_after_others_is_answered_as_by_a_fresh_worker(start, rng):
    """The landmarker keeps nothing either: numbers and pixels equal those of a worker's first picture."""
    server = start(workers=1, model_variant="lite", recycle_requests=0)
    fresh_server = start(workers=1, model_variant="lite")
    samples = _samples(rng)
    for name, body in rng.sample(samples, 3):
        for _name, before in rng.sample(samples, 3):
            _ask(server, before)
        assert _ask(server, body).body == _fresh(fresh_server, body).body, name


@pytest.mark.hostile("I-8")
def test_a_picture_cut_at_two_percent_is_refused(start, rng):
    server = start(workers=1, engine="stub")
    for name, body in _samples(rng):
        reply = _ask(server, body[: max(12, len(body) // 50)])
        assert (reply.status, reply.reason) == (422, "undecodable"), name
