"""Answers to browsers whose pages come from another origin (CORS: the fetch standard's section 3.2)."""

import re
from dataclasses import dataclass

ANY_ORIGIN = "*"
# Browsers let scripts read no other field of an answer from another origin, but for a few basic ones.
_EXPOSED = (
    "Allow, Cache-Status, RateLimit, RateLimit-Policy, Retry-After, Server-Timing, traceparent, "
    "X-Image-Size, X-Original-Image-Size, X-Request-Id"
)
_PREFLIGHT_SECONDS = 7_200  # the longest that Chromium keeps a preflight's answer
_FIELD_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,1024}")


@dataclass(frozen=True, slots=True)
class CrossOrigin:
    """The origins whose pages may read answers: `scheme://host[:port]` each, or `*` for any; none: off.

    Cookies play no part: a page sends its token, if the server wants one, as an Authorization field.
    """

    origins: frozenset[str]

    def headers(self, origin: str | None) -> dict[str, str]:
        """Return the fields that every answer to a request with this Origin field gets."""
        if ANY_ORIGIN in self.origins:
            return {"Access-Control-Allow-Origin": ANY_ORIGIN, "Access-Control-Expose-Headers": _EXPOSED}
        if not self.origins:
            return {}
        if origin not in self.origins:
            return {"Vary": "Origin"}
        assert origin is not None
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": _EXPOSED,
        }

    def preflight_headers(self, origin: str | None, methods: str, fields: str) -> dict[str, str]:
        """Return what else an OPTIONS request gets that asks for permission; nothing for other origins.

        `methods` are those of the route. Of `fields`, the names that the page wants to send, all are
        allowed: the server ignores those that it does not know.
        """
        if "Access-Control-Allow-Origin" not in self.headers(origin):
            return {}
        headers = {
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
        }
        if _FIELD_NAMES.fullmatch(fields):
            headers["Access-Control-Allow-Headers"] = fields
        return headers
