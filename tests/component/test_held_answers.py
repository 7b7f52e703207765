"""Answers that clients read slowly hold a bounded part of the memory, which goes back to the system."""

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.stub_engine import Command, command_png
from harness import client
from harness.faults import is_right
from harness.hostile_requests import sized
from harness.server import ServerProcess

_MIB = 1 << 20
_LIMIT_BYTES = 512 * _MIB  # 64 MiB for answers, 32 MiB for those of one caller
_HOSTILE = "127.0.0.2"
_ANSWERS = 10


def _large(seed: int) -> bytes:
    """Write a picture whose drawn answer has 6 MB."""
    pixels = np.random.default_rng(seed).integers(0, 256, (1_080, 1_920, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _ask(server: ServerProcess, stack: ExitStack, seed: int) -> tuple[socket.socket, bytes]:
    """Ask for a large answer, and read only its beginning."""
    connection = stack.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.bind((_HOSTILE, 0))
    connection.settimeout(20)
    connection.connect(server.address)
    connection.sendall(sized(_large(seed), b"Accept: image/png"))
    return connection, connection.recv(1_024)


def _memory_limit(folder: Path, limit_bytes: int) -> Path:
    (folder / "memory.max").write_text(f"{limit_bytes}\n")
    (folder / "memory.current").write_text("1000000\n")
    (folder / "memory.stat").write_text("inactive_file 0\n")
    return folder


@pytest.mark.parametrize("is_bounded", [True, False], ids=["bounded", "control"])
def test_one_caller_holds_half_of_the_answers_at_most(start, tmp_path, is_bounded):
    folder = _memory_limit(tmp_path, _LIMIT_BYTES if is_bounded else 64 * _LIMIT_BYTES)
    server = start(engine="stub", workers=1, cgroup_root=str(folder), write_timeout_ms=60_000)
    idle_bytes = server.rss()
    with ExitStack() as stack:
        heads = [_ask(server, stack, seed)[1] for seed in range(_ANSWERS)]
        answered = sum(head.startswith(b"HTTP/1.1 200 ") for head in heads)
        refused = sum(head.startswith(b"HTTP/1.1 503 ") and b'"memory"' in head for head in heads)
        assert (answered, refused) == ((5, 5) if is_bounded else (_ANSWERS, 0))
        assert server.metrics("posecluster_answer_bytes") > 5 * 6_000_000
        for number in range(20):
            comment = b"polite %d" % number
            reply = client.post(server.url + "/v1/detect", command_png(Command.OK, 5, comment))
            assert is_right(reply, Command.OK, 5, comment)
    server.wait_until(lambda: server.metrics("posecluster_answer_bytes") == 0, "without held answers")
    server.wait_until(lambda: server.rss() < idle_bytes + 40 * _MIB, "small again")


@pytest.mark.parametrize("seconds", [2, 60], ids=["bounded", "control"])
def test_an_answer_that_is_read_in_drops_ends_in_time(start, seconds):
    server = start(engine="stub", workers=1, write_timeout_ms=1_000, body_timeout_ms=seconds * 1_000)
    with ExitStack() as stack:
        connection, _ = _ask(server, stack, 1)
        end = time.monotonic() + 6
        while time.monotonic() < end and server.metrics("posecluster_answer_bytes"):
            for _ in range(50):
                connection.recv(4_096)
            time.sleep(0.5)
        is_held = server.metrics("posecluster_answer_bytes") > 0
    assert is_held == (seconds == 60)
