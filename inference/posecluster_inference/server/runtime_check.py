"""Checks of Python and aiohttp at start."""

import inspect
import pkgutil
import sys
from collections.abc import Iterator, Mapping

import aiohttp

from posecluster_inference.errors import InvalidSetting

_AIOHTTP = (3, 14, 1)  # older parsers allow request smuggling
SUPPORTED = "aiohttp>=3.14.1,<3.15"  # the range in pyproject.toml
_PYTHON = (3, 11)

# Undocumented parts of aiohttp that `connection` and `strict_parser` use. Any minor version may change them.
_CONNECTION = "aiohttp.web:RequestHandler"
_PARSER = "aiohttp.http:HttpRequestParser"
# fmt: off
RELIED_ON: Mapping[str, frozenset[str]] = {
    _CONNECTION: frozenset(
        {
            "_force_close", "_loop", "_messages", "_parser", "finish_response", "force_close", "handle_error",
            "transport",
        }
    ),
    _PARSER: frozenset({"feed_data", "message_consumed", "pause_reading", "set_upgraded"}),
    "aiohttp.http:RawRequestMessage": frozenset(
        {
            "_replace", "chunked", "headers", "method", "path", "raw_headers", "should_close", "upgrade",
            "version",
        }
    ),
    "aiohttp:StreamReader": frozenset({"feed_eof", "is_eof", "readany", "set_exception", "total_bytes"}),
    "aiohttp.http_exceptions": frozenset({"BadHttpMessage", "HttpProcessingError", "LineTooLong"}),
    "aiohttp.web_protocol": frozenset({"MAX_MSG_QUEUE_SIZE"}),
}
# Keyword arguments of the constructor of the connection
KEYWORDS = frozenset(
    {
        "access_log", "auto_decompress", "keepalive_timeout", "lingering_time", "loop", "max_field_size",
        "max_headers", "max_line_size", "read_bufsize",
    }
)
# fmt: on


def check() -> None:
    """Raise InvalidSetting if Python or aiohttp is not supported; the message is one line."""
    if sys.version_info < _PYTHON:
        raise InvalidSetting("Python 3.11 or newer is required")
    if sys.flags.optimize:
        raise InvalidSetting("python -O and PYTHONOPTIMIZE remove checks that the server needs: unset them")
    version = tuple(int(part) for part in aiohttp.__version__.split(".")[:3] if part.isdigit())
    if version < _AIOHTTP:
        raise InvalidSetting(f"aiohttp {aiohttp.__version__}: 3.14.1 or newer is required")
    if missing := ", ".join(_missing()):
        raise InvalidSetting(
            f"aiohttp {aiohttp.__version__} lacks names that are required ({missing}): install {SUPPORTED}"
        )
    if pkgutil.resolve_name(_PARSER).__module__ != "aiohttp._http_parser":
        raise InvalidSetting("aiohttp's C parser is missing or switched off (AIOHTTP_NO_EXTENSIONS)")


def _missing() -> Iterator[str]:
    for place, names in RELIED_ON.items():
        try:
            owner = pkgutil.resolve_name(place)
        except (ImportError, AttributeError):
            yield place
            continue
        yield from (f"{place}.{name}" for name in sorted(names) if not hasattr(owner, name))
        if place == _CONNECTION:
            arguments = KEYWORDS - inspect.signature(owner).parameters.keys()
            yield from (f"{place}({name}=)" for name in sorted(arguments))
