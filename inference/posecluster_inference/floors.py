"""What this server needs of its surroundings; anything less stops the start."""

import sys

import aiohttp
from aiohttp import http

from posecluster_inference.errors import InvalidSetting

_AIOHTTP = (3, 14, 1)  # older parsers let smuggled requests through
_PYTHON = (3, 11)


def check() -> None:
    """Raise InvalidSetting with one line that says what to change."""
    if sys.version_info < _PYTHON:
        raise InvalidSetting("Python 3.11 or newer is needed")
    if sys.flags.optimize:
        raise InvalidSetting(
            "python -O and PYTHONOPTIMIZE drop checks that this server relies on: unset them"
        )
    version = tuple(int(part) for part in aiohttp.__version__.split(".")[:3] if part.isdigit())
    if version < _AIOHTTP:
        raise InvalidSetting(f"aiohttp {aiohttp.__version__}: 3.14.1 or newer is needed")
    if http.HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise InvalidSetting("aiohttp's C parser is missing or switched off (AIOHTTP_NO_EXTENSIONS)")
