"""A body that its head already rules out is not read; refusals name what is accepted."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.server.http.body import BodyReader
from posecluster_inference.server.http.pace import Pace

BUDGET = 1_000


def _reader(held_bytes: int = 0) -> BodyReader:
    return BodyReader(
        max_bytes=100,
        pace=Pace(50_000, 60.0),
        budget_bytes=BUDGET,
        no_memory=lambda: Refusal(Reason.MEMORY, "Made by no_memory.", retry_after_seconds=7),
        held_bytes=held_bytes,
    )


async def _refusal(reader: BodyReader, request: web.Request) -> Refusal:
    with pytest.raises(Refusal) as caught:
        async with reader.picture(request):
            pass
    return caught.value


@pytest.mark.parametrize(
    "encodings", [["gzip"], ["identity, gzip"], ["identity", "br"], ["GZIP"], ["aws-chunked"]]
)
async def test_an_encoded_body_is_refused_with_what_is_accepted(encodings: list[str]) -> None:
    headers = [("Content-Encoding", encoding) for encoding in encodings]
    refusal = await _refusal(_reader(), _request(*headers))
    assert (refusal.reason, refusal.status) == (Reason.UNSUPPORTED_ENCODING, 415)
    assert refusal.headers == {"Accept-Encoding": "identity"}


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    refusal = await _refusal(_reader(), _request(("Content-Length", "101")))
    assert (refusal.reason, refusal.status) == (Reason.BODY_TOO_LARGE, 413)


async def test_a_body_beyond_the_memory_for_all_bodies_is_refused() -> None:
    reader = _reader(held_bytes=BUDGET + 1)
    refusal = await _refusal(reader, _request(("Content-Length", "10")))
    assert (refusal.reason, refusal.retry_after_seconds) == (Reason.MEMORY, 7)
    assert reader.held_bytes == BUDGET + 1


def _request(*headers: tuple[str, str]) -> web.Request:
    return make_mocked_request("POST", "/v1/detect", headers=CIMultiDict(headers))
