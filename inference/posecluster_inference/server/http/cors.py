"""CORS: header fields for pages of other origins (Fetch standard, section 3.2)."""

import re
from dataclasses import dataclass

ANY_ORIGIN = "*"
# Scripts can read these fields of a response from another origin, besides the few that browsers always allow.
_EXPOSED = (
    "Allow, Cache-Status, RateLimit, RateLimit-Policy, Retry-After, Server-Timing, traceparent, "
    "X-Image-Size, X-Original-Image-Size, X-Request-Id"
)
_PREFLIGHT_SECONDS = 7_200  # maximum time for which Chromium caches a preflight response
_FIELD_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,1024}")


@dataclass(frozen=True, slots=True)
class CrossOrigin:
    """The origins whose pages may read responses: `scheme://host[:port]`, or `*` for all.

    Without origins, CORS is disabled.
    The server uses no cookies: a page sends its token, if one is required, in the Authorization field.
    """

    origins: frozenset[str]

    def headers(self, origin: str | None) -> dict[str, str]:
        """Return the fields of every response to a request with this Origin field."""
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
        """Return the additional fields of the response to a preflight request; empty for other origins.

        `methods` are those of the route. All requested header names in `fields` are allowed, because the
        server ignores unknown ones.
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
