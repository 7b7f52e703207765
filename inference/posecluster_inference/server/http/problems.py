"""Converts refusals to problems (RFC 9457)."""

import json

from aiohttp import web

from posecluster_inference.errors import Refusal

_CONTENT_TYPE = "application/problem+json"


def members(refusal: Refusal) -> dict[str, str | int]:
    """Return the members of the problem's JSON object."""
    return {
        "type": f"urn:posecluster:problem:{refusal.reason}",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        "reason": refusal.reason,
    }


def _body(refusal: Refusal) -> bytes:
    return json.dumps(members(refusal)).encode()


def _headers(refusal: Refusal) -> dict[str, str]:
    headers = {"Content-Type": _CONTENT_TYPE, "Cache-Control": "no-store", **refusal.headers}
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    if refusal.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="posecluster"'
    return headers


def problem(refusal: Refusal) -> web.Response:
    """Return the refusal as a response."""
    return web.Response(status=refusal.status, body=_body(refusal), headers=_headers(refusal))


def raw_problem(refusal: Refusal) -> bytes:
    """Return the refusal as the bytes of a response that closes the connection."""
    body = _body(refusal)
    headers = {**_headers(refusal), "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {refusal.status} Refused", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
