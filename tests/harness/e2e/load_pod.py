"""The load generator that runs in its own pod: this file and the standard library.

A ConfigMap contains it with a picture and the expected landmarks; it is controlled over HTTP:

    POST   /runs/NAME           start probers, which send requests until the run is over; see `Run`
    GET    /runs/NAME?after=N   the requests since number N
    DELETE /runs/NAME           stop new requests; the run is over when the last answer has arrived
    POST   /send                one request of any kind, with its answer

Every run is limited in count and time, so that an aborted test leaves no load behind.
"""

import base64
import itertools
import json
import resource
import socket
import struct
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PORT = 8000
MOST_REQUESTS, MOST_SECONDS = 20_000, 300.0
_TOLERANCE = 0.03  # of x and y, as fractions of the picture
_JPEG_START = b"\xff\xd8"


class Files:
    """What lies beside this script."""

    def __init__(self, folder: Path) -> None:
        self.picture = (folder / "picture.jpg").read_bytes()
        # variant -> x, y of the 33 landmarks
        self.expected: dict[str, list[list[float]]] = json.loads((folder / "expected.json").read_bytes())

    def unique(self, comment: str) -> bytes:
        """The picture with a comment: other bytes, other hash, same pixels."""
        text = comment.encode()
        head = _JPEG_START + b"\xff\xfe" + struct.pack(">H", len(text) + 2)
        return head + text + self.picture[len(_JPEG_START) :]

    def is_right(self, body: bytes) -> bool:
        """Whether an answer has the one person, where the model of the answer must find them."""
        document = json.loads(body)
        people = document["people"]
        expected = self.expected[document["model"]["variant"]]
        if len(people) != 1 or len(people[0]["landmarks"]) != len(expected):
            return False
        return all(
            abs(mark["x"] - x) <= _TOLERANCE and abs(mark["y"] - y) <= _TOLERANCE
            for mark, (x, y) in zip(people[0]["landmarks"], expected, strict=True)
        )


class Run:
    """`new` probers ask on a new connection each time, `kept` ones keep theirs; closed loops.

    order: url, new, kept, every_seconds (of one prober; it makes up for a late answer), retries,
    pause_seconds (before a retry), timeout_seconds, headers, most, seconds.
    """

    def __init__(self, name: str, order: dict[str, Any], files: Files) -> None:
        self.name, self.order, self.files = name, order, files
        self.asked: list[dict[str, Any]] = []
        self.timed_out = False  # it ended by its time limit
        self._over = threading.Event()
        self._left = itertools.count(1)
        self._end = time.monotonic() + min(order["seconds"], MOST_SECONDS)
        probers = range(order["new"] + order["kept"])
        self._threads = [threading.Thread(target=self._probe, args=(one,), daemon=True) for one in probers]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing more; does not wait for the last answers."""
        self._over.set()

    def is_over(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def _probe(self, number: int) -> None:
        client = Client(self.order, keeps=number >= self.order["new"])
        every = self.order["every_seconds"]
        due = time.monotonic() + every * number / len(self._threads)
        most = min(self.order["most"], MOST_REQUESTS)
        for index in itertools.count():
            if self._over.wait(max(0.0, due - time.monotonic())):
                break
            if time.monotonic() > self._end:
                self.timed_out = True
                break
            if next(self._left) > most:
                break
            due += every
            self.asked.append(self._ask(client, f"{self.name}-{number}-{index}"))
        client.close()

    def _ask(self, client: "Client", name: str) -> dict[str, Any]:
        picture, started = self.files.unique(name), time.time()
        for tries in itertools.count(1):
            answer = client.post(picture, name)
            right = answer["status"] == 200 and answer["id"] == name and self._judge(answer["body"])
            if right or tries > self.order["retries"]:
                break
            time.sleep(self.order["pause_seconds"])
        reason = "" if answer["status"] in {0, 200} else _reason(answer["body"])
        return {
            "id": name, "kept": client.keeps, "status": answer["status"], "reason": reason, "right": right,
            "last": answer["last"], "error": answer["error"], "tries": tries,
            "started": started, "ended": time.time(),
        }  # fmt: skip

    def _judge(self, body: bytes) -> bool:
        try:
            return self.files.is_right(body)
        except (ValueError, KeyError, TypeError):
            return False


class Client:
    """One prober's connection, which http.client reopens after an answer with `Connection: close`."""

    def __init__(self, order: dict[str, Any], *, keeps: bool) -> None:
        parts = urlsplit(order["url"])
        timeout = order["timeout_seconds"]
        self._connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)
        self._path, self._headers, self.keeps = parts.path, order["headers"], keeps

    def post(self, body: bytes, name: str) -> dict[str, Any]:
        """Send one request, once; status 0 and `error` if no whole answer came."""
        headers = self._headers | {"X-Request-Id": name} | ({} if self.keeps else {"Connection": "close"})
        try:
            self._connection.request("POST", self._path, body, headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, HTTPException) as problem:
            self._connection.close()
            return {"status": 0, "body": b"", "id": "", "last": False, "error": repr(problem)}
        if not self.keeps:
            self._connection.close()
        last = answer.getheader("Connection", "") == "close"
        echoed = answer.getheader("X-Request-Id", "")
        return {"status": answer.status, "body": content, "id": echoed, "last": last, "error": ""}

    def close(self) -> None:
        self._connection.close()


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body).get("reason", ""))
    except ValueError:
        return body[:80].decode(errors="replace")


def send(order: dict[str, Any]) -> dict[str, Any]:
    """One exchange on a connection of its own: method, url, headers, body (base64), timeout_seconds."""
    parts = urlsplit(order["url"])
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    started = time.monotonic()
    connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=order["timeout_seconds"])
    try:
        connection.request(
            order["method"],
            target or "/",
            base64.b64decode(order["body"]) or None,
            {"Connection": "close", **order["headers"]},
        )
        answer = connection.getresponse()
        body = base64.b64encode(answer.read()).decode()
    except (OSError, HTTPException) as problem:
        return {"status": 0, "error": repr(problem), "headers": [], "body": ""}
    finally:
        connection.close()
    seconds = time.monotonic() - started
    return {"status": answer.status, "headers": answer.getheaders(), "body": body, "seconds": seconds}


class Orders(BaseHTTPRequestHandler):
    """See the module."""

    protocol_version = "HTTP/1.1"
    runs: dict[str, Run] = {}  # noqa: RUF012  one for the process
    files: Files

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        run = self.runs.get(url.path.rpartition("/")[2])
        if run is None:
            self._answer({"runs": list(self.runs)})
            return
        after = int(parse_qs(url.query).get("after", ["0"])[0])
        over = run.is_over()  # before the list is read: then nothing is missing from it
        self._answer({"asked": run.asked[after:], "over": over, "timed_out": run.timed_out})

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/send":
            self._answer(send(order))
            return
        name = self.path.rpartition("/")[2]
        self.runs[name] = Run(name, order, self.files)
        self._answer({})

    def do_DELETE(self) -> None:
        self.runs[self.path.rpartition("/")[2]].stop()
        self._answer({})

    def _answer(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  as it is called
        pass


class EveryFamily(ThreadingHTTPServer):
    """Listens on all addresses of the pod, IPv4 and IPv6."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def main() -> None:
    Orders.files = Files(Path(sys.argv[1]))
    # probers open many connections, and pods may begin with a soft limit of 1,024 descriptors
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with EveryFamily(("", PORT), Orders) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
