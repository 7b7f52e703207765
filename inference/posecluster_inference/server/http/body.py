"""Reads request bodies within limits on size, time and the total memory of all bodies."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures.multipart import picture_from_multipart
from posecluster_inference.server.http.pace import Pace, Progress


@dataclass(slots=True)
class _Receipt:
    """The number of bytes received so far, which is also valid for an incomplete body."""

    size: int = 0


@dataclass(slots=True)
class BodyReader:
    """Reads bodies of at most `max_bytes` at `pace`; all concurrent bodies together use `budget_bytes`.

    `no_memory` creates the refusal of a body that would exceed the budget.
    """

    max_bytes: int
    pace: Pace
    budget_bytes: int
    no_memory: Callable[[], Refusal]
    held_bytes: int = 0

    @asynccontextmanager
    async def picture(self, request: web.Request) -> AsyncIterator[bytes]:
        """Read the body and yield the picture in it; raises Refusal."""
        self._check_head(request)
        if hdrs.EXPECT in request.headers and request.version >= HttpVersion11:
            # Sent only after the checks of the head, so that a refused body is not sent. HTTP/1.0 has no 1xx
            # responses.
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        receipt = _Receipt()
        try:
            body = await self._receive(request, receipt)
            content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
            if content_type.lower().startswith("multipart/"):
                body = picture_from_multipart(body, content_type)
            yield body
        finally:
            self.held_bytes -= receipt.size

    def _check_head(self, request: web.Request) -> None:
        encodings = request.headers.getall(hdrs.CONTENT_ENCODING, [])
        if any(encoding.strip().lower() not in ("", "identity") for encoding in encodings):
            raise Refusal(
                Reason.UNSUPPORTED_ENCODING, "Send the picture as it is, without Content-Encoding."
            ).with_headers({hdrs.ACCEPT_ENCODING: "identity"})
        if request.content_length is not None:
            self._check_size(request.content_length)

    async def _receive(self, request: web.Request, receipt: _Receipt) -> bytes:
        chunks: list[bytes] = []
        loop = asyncio.get_running_loop()
        progress = Progress(self.pace, loop.time())
        try:
            async with asyncio.timeout_at(progress.deadline) as limit:
                while chunk := await request.content.readany():
                    receipt.size += len(chunk)
                    self.held_bytes += len(chunk)
                    chunks.append(chunk)
                    self._check_size(receipt.size)
                    limit.reschedule(progress.received(len(chunk), loop.time()))
        except TimeoutError:
            raise Refusal(
                Reason.DEADLINE, f"The body arrived too slowly: send {self.pace}.", status=408
            ) from None
        except (web.RequestPayloadError, HttpProcessingError):
            raise Refusal(
                Reason.MALFORMED,
                "The body does not match its Content-Length or chunks: let an HTTP library send it.",
            ) from None
        return b"".join(chunks)

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            raise Refusal(
                Reason.BODY_TOO_LARGE,
                f"The body exceeds the limit of {self.max_bytes} bytes: send a smaller file.",
            )
        if self.held_bytes > self.budget_bytes:
            raise self.no_memory()
