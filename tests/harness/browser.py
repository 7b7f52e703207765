"""Debian's Chromium, driven by Playwright, and a record of what a page did."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Request,
    expect,
    sync_playwright,
)

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",  # CI is root in a container of its own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
_WAIT_MS = 15_000
# Chromium itself notes each answer of 400 and more
_REFUSED = "Failed to load resource: the server responded with a status of"
# Chromium drops all connections whenever a network interface appears or disappears, such as a pod's
_DROPPED = "ERR_NETWORK_CHANGED"
_MOST_LOADS = 10
_LEAST_RED, _MOST_OTHER = 200, 80


def find_chromium() -> str | None:
    """Path of a Chromium on PATH."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def launched(path: str) -> Iterator[Browser]:
    """A browser with a profile of its own."""
    expect.set_options(timeout=_WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page, all that it asked for, and all that went wrong in it.

    Without slots: Playwright marks the objects of the methods that it calls.
    """

    page: Page
    asked: list[Request] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(_WAIT_MS)
        self.page.on("request", self._asks)
        self.page.on("pageerror", self._failed)
        self.page.on("console", self._noted)

    def _asks(self, request: Request) -> None:
        self.asked.append(request)

    def _failed(self, error: Error) -> None:
        self.faults.append(f"uncaught: {error.message}")

    def _noted(self, message: ConsoleMessage) -> None:
        is_foreign = message.text.startswith(_REFUSED) or _DROPPED in message.text
        if message.type in ("error", "warning") and not is_foreign:
            self.faults.append(f"{message.type}: {message.text}")

    def open(self, url: str) -> None:
        """Open an address, with all that it loads."""
        for _ in range(_MOST_LOADS):
            start = len(self.asked)
            self.page.goto(url)
            if not any(map(_was_dropped, self.asked[start:])):
                return
        raise AssertionError(f"{url} could not be loaded whole {_MOST_LOADS} times")

    def hosts(self) -> set[str]:
        """Hosts and ports that were asked for anything."""
        return {urlsplit(request.url).netloc for request in self.asked if request.url.startswith("http")}

    def detections(self) -> list[Request]:
        """Requests to detect so far."""
        sent = (request for request in self.asked if request.url.endswith("/v1/detect"))
        return [request for request in sent if not _was_dropped(request)]

    def choose(self, content: bytes, name: str = "picture.jpg", kind: str = "image/jpeg") -> None:
        """Choose a picture by the button, as a person does."""
        self.page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})

    def wait_for_skeleton(self, people: int = 1) -> None:
        """Wait until so many people are drawn."""
        expect(self.page.locator("#skeleton .joint")).to_have_count(33 * people)
        expect(self.page.locator("#busy")).to_be_hidden()

    def notice(self) -> str:
        """Wait for what the page has to say, and return it."""
        self.page.wait_for_selector("#notice:not([hidden])")
        return self.page.inner_text("#notice")


def _was_dropped(request: Request) -> bool:
    return _DROPPED in (request.failure or "")


def pixels(locator: Locator) -> NDArray[np.uint8]:
    """What is seen there, as (H, W, 3) uint8 RGB."""
    picture = cv2.imdecode(np.frombuffer(locator.screenshot(), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    return picture.astype(np.uint8, copy=False)


def is_red(picture: NDArray[np.uint8], x: float, y: float) -> bool:
    """Whether a joint is drawn at these fractions of the picture; a pixel of rounding is allowed for."""
    height, width = picture.shape[:2]
    column, row = min(width - 1, int(x * width)), min(height - 1, int(y * height))
    near = picture[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].reshape(-1, 3).astype(int)
    return bool(((near[:, 0] >= _LEAST_RED) & (near[:, 1:].max(axis=1) <= _MOST_OTHER)).any())
