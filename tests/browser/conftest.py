"""Fixtures of browser tests: Chromium, a server with the full model, and test pictures."""

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser

from harness import pictures
from harness.browser import Visit, find_chromium, launched
from harness.server import ServerProcess, start_server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; skips if it is missing (`scripts/chromium` installs it)."""
    path = find_chromium()
    if path is None:
        pytest.skip("no chromium on PATH: run scripts/chromium as root, or install it")
    with launched(path) as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open an address in a window of its own; at the end no page may have had a fault."""
    with ExitStack() as stack:
        visits = []

        def go(url: str, **options: Any) -> Visit:
            defaults = {"viewport": {"width": 1280, "height": 900}, "permissions": ["camera"]}
            context = browser.new_context(**{**defaults, **options})
            stack.callback(context.close)
            visits.append(Visit(context.new_page()))
            visits[-1].open(url)
            return visits[-1]

        yield go
        assert [fault for one in visits for fault in one.faults] == []


@pytest.fixture(scope="session")
def pose_server(full_model: Path) -> Iterator[ServerProcess]:
    """One server with the full model for all tests that only send pictures; it finds three people."""
    with start_server(workers=1, max_people=3, hang_limit_ms=30_000, deadline_ms=40_000) as server:
        yield server


@pytest.fixture(scope="session")
def astronaut() -> bytes:
    """One person."""
    return pictures.built_in()


@pytest.fixture(scope="session")
def astronaut_base64(astronaut: bytes) -> str:
    """The same, as scripts of a page can be given it."""
    return base64.b64encode(astronaut).decode()


@pytest.fixture(scope="session")
def two_people(astronaut: bytes) -> bytes:
    """Two, side by side."""
    one = _read(astronaut)
    between = np.full((one.shape[0], 120, 3), 128, np.uint8)
    return _jpeg(np.hstack([one, between, one[:, ::-1]]))


@pytest.fixture(scope="session")
def twelve_megapixels(astronaut: bytes) -> bytes:
    """4,000 x 3,000, as a phone takes them, with fine grain."""
    picture = cv2.resize(_read(astronaut), (4_000, 3_000), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    grain = np.random.default_rng(1).integers(-6, 7, picture.shape[:2], dtype=np.int16)
    return _jpeg(np.clip(picture + grain[:, :, None], 0, 255).astype(np.uint8))


def _read(data: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def _jpeg(picture: Any) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
