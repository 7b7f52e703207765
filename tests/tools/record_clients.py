"""Record the requests of clients: python tests/tools/record_clients.py [NAME…]

Runs the clients of harness/real_clients.py that this machine has, and browsers, against a socket that answers
200, and stores each request byte for byte in tests/data/clients. Browsers send forms from a page made here.
"""

import base64
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.browser import find_chromium
from harness.real_clients import COMMANDS, PICTURE, RECORDED, missing, run

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: %s\r\n\r\n%s"
_QUIET_SECONDS = 0.5
_BROWSER_SECONDS = 60.0
# first a FormData with what pages put into it, then a plain form with an empty second file
_PAGE = """<!doctype html><meta charset="utf-8">
<form id="form" action="/v1/detect" method="post" enctype="multipart/form-data">
  <input type="hidden" name="_charset_"><input name="comment" value="ä">
  <input type="file" name="picture"><input type="file" name="more">
  <input type="submit" name="send" value="ok">
</form>
<script>
const bytes = Uint8Array.from(atob("%s"), (one) => one.charCodeAt(0));
const picture = new File([bytes], "Bild ä \\"1\\".png", { type: "image/png" });
const data = new FormData();
data.append("options", new Blob(["{}"], { type: "application/json" }));
data.append("picture", picture);
fetch("/v1/detect", { method: "POST", body: data }).then(() => {
  const files = new DataTransfer();
  files.items.add(picture);
  form.picture.files = files.files;
  form.requestSubmit(form.send);
});
</script>"""


class Recorder:
    """Listens, stores the POST requests and answers each with 200."""

    def __init__(self, listener: socket.socket) -> None:
        self.requests: list[bytes] = []
        self.port = listener.getsockname()[1]
        self._listener = listener

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            data = b""
            while part := _received(connection):
                data += part
                head, end, body = data.partition(b"\r\n\r\n")
                if not end:
                    continue
                if head.startswith(b"GET"):
                    page = _PAGE.encode() % base64.b64encode(PICTURE.read_bytes())
                    found = page if head.startswith(b"GET / ") else b""
                    connection.sendall(_ANSWER % (len(found), b"text/html", found))
                    data = b""
                elif _is_whole(head, body):
                    self.requests.append(data)
                    connection.sendall(_ANSWER % (2, b"application/json", b"{}"))
                    data = b""


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b""


def _is_whole(head: bytes, body: bytes) -> bool:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return body.endswith(b"0\r\n\r\n")


@contextmanager
def recording() -> Iterator[Recorder]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        recorder = Recorder(listener)
        threading.Thread(target=recorder.serve, daemon=True).start()
        yield recorder


def browse(command: list[str], recorder: Recorder) -> None:
    """Open the page and wait for its two requests."""
    process = subprocess.Popen(
        [*command, f"http://127.0.0.1:{recorder.port}/"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + _BROWSER_SECONDS
    while len(recorder.requests) < 2 and time.monotonic() < end:
        time.sleep(_QUIET_SECONDS)
    process.terminate()
    process.wait(10)


def store(name: str, request: bytes) -> None:
    (RECORDED / (name.replace(" ", "-") + ".http")).write_bytes(request)
    print(f"{name}: {len(request)} bytes")


def main() -> None:
    wanted = sys.argv[1:]
    # some clients send the path
    picture = Path(tempfile.gettempdir(), "Meine Bilder", "Bild ä.png")
    picture.parent.mkdir(exist_ok=True)
    picture.write_bytes(PICTURE.read_bytes())
    for name in COMMANDS:
        if name == "java many" or (wanted and not any(name.startswith(word) for word in wanted)):
            continue
        lack = missing(name)
        if lack is not None:
            print(f"{name}: not recorded: {lack}")
            continue
        with recording() as recorder:
            statuses = run(name, f"http://127.0.0.1:{recorder.port}/v1/detect", picture)
            assert statuses == ["200"], (name, statuses)
            (request,) = recorder.requests
            store(name, request)
    with tempfile.TemporaryDirectory() as profile:
        browsers = {
            "chromium": [
                find_chromium(),
                "--headless",
                "--no-sandbox",
                f"--user-data-dir={profile}/chromium",
            ],
            "firefox": [shutil.which("firefox"), "--headless", "--no-remote", "--profile", profile],
        }
        for browser, command in browsers.items():
            if command[0] is None or (wanted and browser not in wanted):
                print(f"{browser}: not recorded")
                continue
            with recording() as recorder:
                browse([str(word) for word in command], recorder)
                for kind, request in zip(("formdata", "form"), recorder.requests, strict=True):
                    store(f"{browser} {kind}", request)


if __name__ == "__main__":
    main()
