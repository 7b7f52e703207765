"""How a proxy forwards one call to the API server, with the fault that a rule asks for."""

import asyncio
import json
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp
from aiohttp import web

from harness.kubernetes.calls import STREAM_FAULTS, Call, Rule
from harness.kubernetes.connection import close_session

_OWN_HEADERS = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade"}
_GONE = {
    "type": "ERROR",
    "object": {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "too old resource version: 1 (2)",
        "reason": "Expired",
        "code": 410,
    },
}
_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Answer:
    """An answer of the API server, read to its end."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Forwarder:
    """Sends calls to one API server; lives in the proxy's loop.

    rules: the rules in force now. The proxy calls `changed` after a change, so that open
    watches apply them.
    """

    def __init__(self, url: str, context: ssl.SSLContext, rules: Callable[[], tuple[Rule, ...]]) -> None:
        self._url = url
        self._context = context
        self._rules = rules
        self._changes: asyncio.Event = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None

    def changed(self) -> None:
        """Wake all tasks that wait for a change of the rules."""
        self._changes.set()
        self._changes = asyncio.Event()

    async def close(self) -> None:
        if self._session is not None:
            await close_session(self._session)

    async def serve(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        """Answer one request as the rules say."""
        body = await request.content.read()
        if call.is_write:
            call.request = body
        acting = [rule for rule in self._rules() if not _for_streams(rule, call) and rule.take(call)]
        rule = next((one for one in acting if one.do != "pass"), None)
        call.rule = rule or (acting[0] if acting else None)
        for one in acting:
            if one.on_match is not None:
                one.on_match(call)
            if one.delay_seconds:
                await asyncio.sleep(one.delay_seconds)
        do = rule.do if rule is not None else "pass"
        if rule is not None:
            if do == "answer":
                return _refusal(rule, call)
            if do == "reset":
                return _reset(request)
            if do == "hang":
                return await self._hang(request, rule)
            if do == "old" and (kept := rule.kept.get(request.path_qs)) is not None:
                return _whole(kept, call)
        if call.verb == "watch":
            return await self._watch(request, call, body)
        answer = await self._ask(request, call, body)
        for one in acting:
            if one.on_done is not None:
                one.on_done(call)
        if rule is not None:
            if do == "lose":
                call.status = 0
                return _reset(request)
            if do == "hang_after":
                call.status = 0
                return await self._hang(request, rule)
            if do == "old":
                rule.kept[request.path_qs] = answer
            elif do == "bad_json":
                answer = Answer(answer.status, answer.headers, answer.body[: len(answer.body) // 2])
            elif do == "cut":
                return await _half(request, answer, call)
        return _whole(answer, call)

    async def _ask(self, request: web.BaseRequest, call: Call, body: bytes) -> Answer:
        async with self._open(request, call, body) as response:
            headers = _passed(response.headers)
            answer = Answer(response.status, headers, await response.read())
        call.status = answer.status
        return answer

    def _open(self, request: web.BaseRequest, call: Call, body: bytes) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._context, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, connect=10),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept", "Content-Type"),
            )
        call.forwarded = True
        return self._session.request(
            request.method, self._url + request.raw_path, headers=_passed(request.headers), data=body or None
        )

    async def _watch(self, request: web.BaseRequest, call: Call, body: bytes) -> web.StreamResponse:
        async with self._open(request, call, body) as upstream:
            call.status = upstream.status
            if upstream.status != 200:
                return _whole(Answer(upstream.status, _passed(upstream.headers), await upstream.read()), call)
            response = web.StreamResponse(status=200, headers=_passed(upstream.headers))
            await response.prepare(request)
            return await self._stream(request, call, upstream.content, response)

    async def _stream(
        self,
        request: web.BaseRequest,
        call: Call,
        content: aiohttp.StreamReader,
        response: web.StreamResponse,
    ) -> web.StreamResponse:
        """Forward whole lines as they arrive, until the API server, a rule or the caller ends the watch."""
        line, ended, silence = b"", False, None
        reading = asyncio.ensure_future(content.readany())
        try:
            while True:
                change = asyncio.ensure_future(self._changes.wait())
                for rule in self._rules():
                    if rule.do in STREAM_FAULTS and rule.take(call):
                        if rule.do != "silence":
                            return await _end_stream(request, response, rule)
                        silence = rule
                if silence is not None and silence not in self._rules():
                    silence = None
                if ended and silence is None:
                    return _reset(request)
                waiting = {change} if ended else {change, reading}
                try:
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    change.cancel()
                if ended or not reading.done():
                    continue
                chunk = reading.result()
                if not chunk and silence is None:
                    return response
                ended = not chunk
                if chunk:
                    reading = asyncio.ensure_future(content.readany())
                whole, newline, line = (line + chunk).rpartition(b"\n")
                if newline and silence is None:
                    await response.write(whole + newline)
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError, aiohttp.ClientError):
                await reading

    async def _hang(self, request: web.BaseRequest, rule: Rule) -> web.StreamResponse:
        while rule in self._rules():
            await self._changes.wait()
        return _reset(request)


def _for_streams(rule: Rule, call: Call) -> bool:
    return rule.do in {"silence", "gone"} or (call.verb == "watch" and rule.do in STREAM_FAULTS)


def _passed(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _OWN_HEADERS}


def _refusal(rule: Rule, call: Call) -> web.Response:
    document = rule.body or {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": rule.message,
        "reason": _REASONS.get(rule.status, "Unknown"),
        "code": rule.status,
    }
    headers = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
    call.status, call.retry_after = rule.status, rule.retry_after
    return web.Response(
        status=rule.status,
        body=json.dumps(document).encode(),
        headers=headers | {"Content-Type": "application/json"},
    )


def _whole(answer: Answer, call: Call) -> web.Response:
    call.status = answer.status
    retry_after = answer.headers.get("Retry-After", "")
    call.retry_after = int(retry_after) if retry_after.isdigit() else None
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


async def _half(request: web.BaseRequest, answer: Answer, call: Call) -> web.StreamResponse:
    call.status = answer.status
    headers = answer.headers | {"Content-Length": str(len(answer.body))}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    return _reset(request)


async def _end_stream(
    request: web.BaseRequest, response: web.StreamResponse, rule: Rule
) -> web.StreamResponse:
    if rule.do == "gone":
        await response.write(json.dumps(_GONE).encode() + b"\n")
        return response
    await response.write(b'{"type":"MODIFIED","object":{"kind":' + (b"\n" if rule.do == "bad_json" else b""))
    return response if rule.do == "bad_json" else _reset(request)


def _reset(request: web.BaseRequest) -> web.StreamResponse:
    """Break the connection so that the peer sees a reset, not an orderly end."""
    if (transport := request.transport) is not None:
        reset(transport)
    return web.Response(status=503)


def reset(transport: Any) -> None:
    """Close a connection with RST: no linger."""
    if (peer := transport.get_extra_info("socket")) is not None:
        with suppress(OSError):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def now() -> float:
    """The clock of Call.time."""
    return time.monotonic()
