"""Sources of model files: the official address (a server on loopback), or a path that the user names."""

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from posecluster_inference.errors import ModelError
from posecluster_inference.models import sources
from posecluster_inference.models.sources import LocalPath, Unavailable
from posecluster_inference.worker.tasks.model_files import Model, Origin, Pinned

pytestmark = pytest.mark.unit

CONTENT = b"the released file" * 1000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def model_at(address: str) -> Model:
    accepted = (Pinned(sha256(CONTENT), len(CONTENT), Origin.OFFICIAL),)
    return Model("pose", "tiny", "tiny.task", accepted, address)


class Answers(BaseHTTPRequestHandler):
    """/right, /long (endless as far as the client knows), /gone, /silent."""

    sent = 0

    def do_GET(self) -> None:
        if self.path == "/silent":
            time.sleep(1)
            return
        self.send_response(404 if self.path == "/gone" else 200)
        self.end_headers()
        try:
            for _ in range(1000 if self.path == "/long" else 1):
                self.wfile.write(CONTENT)
                Answers.sent += len(CONTENT)
        except OSError:
            pass  # the client has had enough, as it should

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def store_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_address_gives_the_file(store_address: str) -> None:
    assert sources.OfficialAddress().fetch(model_at(f"{store_address}/right")) == CONTENT


def test_download_is_bounded(store_address: str) -> None:
    Answers.sent = 0
    content = sources.OfficialAddress().fetch(model_at(f"{store_address}/long"))
    assert len(content) == len(CONTENT) + 1
    assert Answers.sent < 900 * len(CONTENT)  # the rest, some MB at most, is what sockets buffer


def test_unreachable_missing_and_silent_stores_are_given_up_soon(store_address: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refuses
        refused = f"http://127.0.0.1:{taken.getsockname()[1]}/right"
        for address in (refused, f"{store_address}/gone", f"{store_address}/silent"):
            begins = time.monotonic()
            with pytest.raises(Unavailable, match="cannot be reached"):
                sources.OfficialAddress(connect_seconds=0.3).fetch(model_at(address))
            assert time.monotonic() - begins < 0.9


def test_a_path_is_the_file_or_a_folder_that_holds_it(tmp_path: Path) -> None:
    model = model_at("")
    with pytest.raises(Unavailable, match=r"has no tiny\.task"):
        LocalPath(tmp_path).fetch(model)
    (tmp_path / "tiny.task").write_bytes(CONTENT)
    (tmp_path / "another name").write_bytes(CONTENT + b"longer")
    assert LocalPath(tmp_path).fetch(model) == LocalPath(tmp_path / "tiny.task").fetch(model) == CONTENT
    assert len(LocalPath(tmp_path / "another name").fetch(model)) == len(CONTENT) + 1
    with pytest.raises(ModelError, match=r"nowhere is not a file: name tiny\.task or a folder that"):
        LocalPath(tmp_path / "nowhere").fetch(model)
