"""Every refusal is an RFC 9457 problem with a stable reason, in both places that write responses."""

import http.client
import io
import json
import re
from importlib.resources import files
from typing import Any

import pytest

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.server.http.problems import problem, raw_problem

STATUSES = {
    "malformed": 400,
    "unauthorized": 401,
    "not_found": 404,
    "method_not_allowed": 405,
    "body_too_large": 413,
    "picture_too_large": 413,
    "unsupported_format": 415,
    "unsupported_encoding": 415,
    "undecodable": 422,
    "quota": 429,
    "queue_full": 503,
    "draining": 503,
    "starting": 503,
    "memory": 503,
    "worker_crashed": 503,
    "deadline": 504,
    "worker_hung": 504,
}


class _Bytes:
    """A socket that has received these bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def _parsed(data: bytes) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(_Bytes(data))  # type: ignore[arg-type]
    response.begin()
    return response


def test_the_list_of_reasons_is_closed() -> None:
    assert {str(reason) for reason in Reason} == set(STATUSES)


@pytest.mark.parametrize("reason", Reason)
def test_a_problem_says_the_same_on_both_ways_out(reason: Reason) -> None:
    refusal = Refusal(reason, "Because of \N{SNOWMAN}\r\nthis.")
    expected: dict[str, Any] = {
        "type": f"urn:posecluster:problem:{reason}",
        "title": refusal.title,
        "status": STATUSES[reason],
        "detail": "Because of \N{SNOWMAN}\r\nthis.",
        "reason": str(reason),
    }
    response, raw = problem(refusal), _parsed(raw_problem(refusal))
    assert isinstance(response.body, bytes)
    assert response.status == raw.status == STATUSES[reason]
    assert json.loads(response.body) == json.loads(raw.read()) == expected
    for headers in (response.headers, raw.headers):
        assert headers["Content-Type"] == "application/problem+json"
        assert headers["Cache-Control"] == "no-store"


def test_titles_tell_reasons_apart() -> None:
    assert len({Refusal(reason, "").title for reason in Reason}) == len(Reason)


def test_a_status_can_be_the_causes_own() -> None:
    response = problem(Refusal(Reason.DEADLINE, "slow body", status=408))
    assert isinstance(response.body, bytes)
    assert response.status == json.loads(response.body)["status"] == 408


def test_retry_after_is_sent_where_it_is_known() -> None:
    told = Refusal(Reason.QUEUE_FULL, "full", retry_after_seconds=7)
    assert problem(told).headers["Retry-After"] == "7"
    assert _parsed(raw_problem(told)).headers["Retry-After"] == "7"
    assert "Retry-After" not in problem(Refusal(Reason.UNDECODABLE, "no")).headers


def test_only_a_401_asks_for_a_token() -> None:
    asking = [reason for reason in Reason if "WWW-Authenticate" in problem(Refusal(reason, "")).headers]
    assert asking == [Reason.UNAUTHORIZED]
    assert problem(Refusal(Reason.UNAUTHORIZED, "")).headers["WWW-Authenticate"].startswith("Bearer ")


def test_headers_of_the_refusal_are_sent() -> None:
    refusal = Refusal(Reason.QUOTA, "used up", retry_after_seconds=1).with_headers({"RateLimit": "r=0"})
    refusal.with_headers({"RateLimit-Policy": "q=1"})
    headers = problem(refusal).headers
    assert (headers["RateLimit"], headers["RateLimit-Policy"]) == ("r=0", "q=1")


def test_a_raw_problem_is_whole_and_ends_its_connection() -> None:
    data = raw_problem(Refusal(Reason.QUEUE_FULL, "\N{SNOWMAN}", retry_after_seconds=1))
    head, _, body = data.partition(b"\r\n\r\n")
    response = _parsed(data)
    assert int(response.headers["Content-Length"]) == len(body)
    assert response.headers["Connection"] == "close"
    assert head.startswith(b"HTTP/1.1 503 ")


def test_reasons_that_the_page_names_exist() -> None:
    script = (files("posecluster_inference") / "page/assets/main.js").read_text(encoding="utf-8")
    found = re.search(r"COPY_HELPS = new Set\((\[.+?\])\)", script)
    assert found
    assert set(json.loads(found[1])) <= set(Reason)
