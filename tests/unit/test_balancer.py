"""The balancer that rollout and scaling tests rely on: where it sends connections, and what it records."""

import random
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from harness.balancer import Answer, Balancer, _Messages
from harness.pods import Pods, faults
from harness.probers import Asked, Traffic

CUT = "/cut"


class _Handler(BaseHTTPRequestHandler):
    """Tells its pod's pid; at /cut it ends the connection in the middle of its answer."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = str(self.connection.getsockname()[1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + (self.path == CUT)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.path == CUT

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class FakePod:
    """Its port is its pid."""

    pid: int

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.pid)


@pytest.fixture
def pods() -> Iterator[tuple[FakePod, FakePod]]:
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _Handler) for _ in range(2)]
    threads = [Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for thread in threads:
        thread.start()
    yield FakePod(servers[0].server_port), FakePod(servers[1].server_port)
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def balancer(rng: random.Random) -> Iterator[Balancer]:
    with Balancer(rng) as one:
        yield one


def ask(connection: HTTPConnection, name: str, path: str = "/") -> tuple[int, bytes]:
    """Status and body."""
    connection.request("POST", path, b"picture", {"X-Request-Id": name})
    answer: HTTPResponse = connection.getresponse()
    return answer.status, answer.read()


def ask_anew(balancer: Balancer, name: str, path: str = "/") -> int:
    """On a connection of its own; the pid that answered."""
    connection = HTTPConnection(*balancer.address, timeout=5)
    try:
        return int(ask(connection, name, path)[1])
    finally:
        connection.close()


def wait_for(balancer: Balancer, *pods: FakePod) -> None:
    end = time.monotonic() + 5
    while set(balancer.pods) != set(pods):
        assert time.monotonic() < end
        time.sleep(0.005)


def test_connections_spread_over_the_pods_and_are_recorded(
    balancer: Balancer, pods: tuple[FakePod, FakePod]
) -> None:
    for pod in pods:
        balancer.add(pod)
    wait_for(balancer, *pods)
    begun = time.monotonic()
    told = {f"id-{number}": ask_anew(balancer, f"id-{number}") for number in range(40)}
    assert set(told.values()) == {pod.pid for pod in pods}
    answers = balancer.answers
    assert {answer.id: answer.pid for answer in answers} == told
    assert {answer.status for answer in answers} == {200}
    assert all(begun <= answer.started <= answer.ended <= time.monotonic() for answer in answers)
    assert sum(balancer.served(pod) for pod in pods) == 40


def test_a_dropped_pod_keeps_its_connections_and_gets_no_new_ones(
    balancer: Balancer, pods: tuple[FakePod, FakePod]
) -> None:
    old, new = pods
    balancer.add(old)
    wait_for(balancer, old)
    kept = HTTPConnection(*balancer.address, timeout=5)
    assert ask(kept, "kept-1") == (200, str(old.pid).encode())
    balancer.add(new)
    balancer.drop(old, after_seconds=0.05)
    wait_for(balancer, new)
    assert {ask_anew(balancer, f"new-{number}") for number in range(20)} == {new.pid}
    assert ask(kept, "kept-2") == (200, str(old.pid).encode())
    kept.close()


def test_a_pod_is_dropped_after_its_lag_and_not_before(
    balancer: Balancer, pods: tuple[FakePod, FakePod]
) -> None:
    balancer.add(pods[0])
    wait_for(balancer, pods[0])
    begun = time.monotonic()
    balancer.drop(pods[0], after_seconds=0.2)
    wait_for(balancer)
    assert time.monotonic() - begun >= 0.2


def test_a_connection_that_no_pod_accepts_fails_at_the_client(
    balancer: Balancer, pods: tuple[FakePod, FakePod]
) -> None:
    with pytest.raises((OSError, HTTPException)):
        ask_anew(balancer, "nobody")
    assert balancer.answers == []

    with socket.create_server(("127.0.0.1", 0)) as closing:
        gone = FakePod(closing.getsockname()[1])
    balancer.add(gone)
    wait_for(balancer, gone)
    with pytest.raises((OSError, HTTPException)):
        ask_anew(balancer, "refused")
    (refused,) = balancer.answers
    assert (refused.id, refused.status, refused.pid) == ("", 0, gone.pid)


def test_a_truncated_response_does_not_count_as_an_answer(
    balancer: Balancer, pods: tuple[FakePod, FakePod]
) -> None:
    balancer.add(pods[0])
    wait_for(balancer, pods[0])
    with pytest.raises((OSError, HTTPException)):
        ask_anew(balancer, "cut", CUT)
    end = time.monotonic() + 5
    while not balancer.answers:
        assert time.monotonic() < end
    (cut,) = balancer.answers
    assert (cut.id, cut.status, cut.pid) == ("cut", 0, pods[0].pid)


@pytest.mark.parametrize("step", [1, 3, 1_000])
def test_messages_are_separated_wherever_the_stream_is_split(step: int) -> None:
    data = b"A b c\r\nContent-Length: 3\r\n\r\nxyzB\r\nX-Request-Id: 7\r\n\r\nC\r\ncontent-length:1\r\n\r\n\n"
    seen: list[str] = []
    messages = _Messages(
        lambda line, headers: seen.append(line + str(len(headers))), lambda: seen.append("end")
    )
    for start in range(0, len(data), step):
        messages.feed(data[start : start + step])
    assert seen == ["A b c1", "end", "B1", "end", "C1", "end"]
    with pytest.raises(ValueError, match="chunked"):
        messages.feed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")


@dataclass
class Noted:
    """A balancer's notes."""

    answers: list[Answer]


def judged(asked: list[Asked], answers: list[Answer]) -> list[str]:
    """The faults, by their first words, of a run with one pod that joined at 5."""
    pods = Pods(Noted(answers), lambda: None, joined_at={1: 5.0})  # type: ignore[arg-type, return-value]
    return [fault.partition(":")[0] for fault in faults(pods, Traffic(asked))]


def test_faults_are_named() -> None:
    right = Asked("a", False, 200, "", True, True, "", 6.0, 7.0)
    wrong = Asked("b", False, 200, "", False, True, "", 6.0, 7.0)
    answer = Answer("a", 200, 1, 6.0, 7.0)
    assert judged([right], [answer]) == []
    assert judged([right], []) == ["answered 0 times"]
    assert judged([right], [answer, answer]) == ["answered 2 times"]
    assert judged([right], [Answer("a", 200, 1, 4.0, 7.0)]) == ["too early"]
    assert judged([right], [Answer("a", 200, 2, 6.0, 7.0)]) == ["too early"], "a pod that never joined"
    assert judged([right], [Answer("a", 503, 1, 6.0, 7.0)]) == ["no 200"]
    assert judged([right, wrong], [answer, Answer("b", 200, 1, 6.0, 7.0)]) == ["failed"]
    assert judged([right], [answer, Answer("c", 200, 1, 6.0, 7.0)]) == ["asked 0 times"]
