"""examples/client.py obeys Retry-After, keeps its deadline, and retries within its budget."""

import importlib.util
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from harness.server import ROOT, ServerProcess
from harness.stub import Slow, nose

PICTURE = b"\xff\xd8\xff\xd9"
LEEWAY_SECONDS = 0.5


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_client", ROOT / "examples" / "client.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = _load()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the made-up server says; status 0 cuts the connection."""

    status: int
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    seconds_a_byte: float = 0.0


def refusal(status: int, retry_after: str) -> Answer:
    body = json.dumps({"reason": "queue_full", "detail": "told to wait"}).encode()
    return Answer(status, body, (("Retry-After", retry_after),))


RIGHT = Answer(200, b'{"people": []}')


@dataclass(slots=True)
class Stub:
    """Sends its answers in order, then always the last one; `limits` are the X-Request-Timeout-Ms it got."""

    answers: list[Answer]
    url: str = ""
    limits: list[int] = field(default_factory=list)

    def next(self) -> Answer:
        return self.answers[min(len(self.limits), len(self.answers)) - 1]


@contextmanager
def serving(*answers: Answer) -> Iterator[Stub]:
    stub, over = Stub(list(answers)), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            stub.limits.append(int(self.headers["X-Request-Timeout-Ms"]))
            answer = stub.next()
            self.close_connection = True
            if answer.status == 0:
                return
            self.send_response(answer.status)
            own = (("Content-Length", str(len(answer.body))), ("Connection", "close"))
            for name, value in (*answer.headers, *own):
                self.send_header(name, value)
            self.end_headers()
            step = 1 if answer.seconds_a_byte else max(1, len(answer.body))
            with suppress(OSError):
                for start in range(0, len(answer.body), step):
                    if over.wait(answer.seconds_a_byte):
                        return
                    self.wfile.write(answer.body[start : start + step])

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stub
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def ask(url: str, picture: bytes = PICTURE, deadline_seconds: float = 5.0) -> dict[str, object]:
    client = example.PoseClient(url)
    try:
        found: dict[str, object] = client.detect(picture, deadline_seconds)
        return found
    finally:
        client.close()


def test_the_client_waits_for_retry_after_and_tries_again() -> None:
    with serving(refusal(503, "1"), RIGHT) as stub:
        begin = time.monotonic()
        assert ask(stub.url) == {"people": []}
    assert time.monotonic() - begin >= 1.0
    first, second = stub.limits
    assert 4_000 <= first <= 4_900, "the server must give up before the client does"
    assert second <= first - 1_000


def test_a_broken_connection_is_tried_again() -> None:
    with serving(Answer(0), RIGHT) as stub:
        assert ask(stub.url) == {"people": []}
    assert len(stub.limits) == 2


def test_the_client_stops_when_its_retry_budget_is_used_up() -> None:
    with serving(refusal(503, "0")) as stub:
        client = example.PoseClient(stub.url)
        for asked in (4, 5):  # three retries were saved up; then a tenth of one a request
            with pytest.raises(example.Refused, match="told to wait"):
                client.detect(PICTURE)
            assert len(stub.limits) == asked
        client.close()


@pytest.mark.parametrize("retry_after", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", ""])
def test_an_html_page_from_a_proxy_is_handled_as_a_refusal(retry_after: str) -> None:
    page = Answer(503, b"<html>no upstream</html>", (("Retry-After", retry_after),) if retry_after else ())
    with serving(page) as stub:
        with pytest.raises(example.Refused, match="no upstream"):
            ask(stub.url, deadline_seconds=0.9)
        assert len(stub.limits) == 1
    with serving(page, RIGHT) as stub:
        begin = time.monotonic()
        assert ask(stub.url) == {"people": []}
        assert time.monotonic() - begin >= example.USUAL_PAUSE_SECONDS


def test_a_quota_beyond_the_deadline_is_reported_immediately() -> None:
    with serving(refusal(429, "60")) as stub:
        begin = time.monotonic()
        with pytest.raises(example.Refused) as caught:
            ask(stub.url)
    assert caught.value.status == 429
    assert time.monotonic() - begin <= LEEWAY_SECONDS
    assert len(stub.limits) == 1


def test_other_refusals_are_not_tried_again() -> None:
    with serving(refusal(422, "1")) as stub, pytest.raises(example.Refused, match="422: told to wait"):
        ask(stub.url)
    assert len(stub.limits) == 1


def test_the_deadline_bounds_an_answer_that_dribbles() -> None:
    with serving(Answer(200, b" " * 200 + b"{}", seconds_a_byte=0.05)) as stub:
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            ask(stub.url, deadline_seconds=0.6)
        assert time.monotonic() - begin <= 0.6 + LEEWAY_SECONDS


def test_the_client_gets_an_answer_from_a_real_server(start: Callable[..., ServerProcess]) -> None:
    """An answer, and the server's own 504 before the client gives up by itself."""
    server, slow = start(engine="stub"), Slow(10, "example")
    answer = ask(server.url, slow.picture(1))
    assert abs(nose(answer) - slow.nose(1)) < 1e-6
    with pytest.raises(example.Refused) as caught:
        ask(server.url, Slow(3_000).picture(2), deadline_seconds=0.8)
    assert caught.value.status == 504
    assert caught.value.problem["reason"] == "deadline"


def test_the_client_needs_no_package(start: Callable[..., ServerProcess], tmp_path: Path) -> None:
    """As it is after `make run`, with any Python: -S leaves out every installed package."""
    server, slow = start(engine="stub"), Slow(10, "example")
    picture = tmp_path / "photo.png"
    picture.write_bytes(slow.picture(1))
    done = subprocess.run(
        [sys.executable, "-I", "-S", ROOT / "examples" / "client.py", picture, server.url],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert "nose" in done.stdout
