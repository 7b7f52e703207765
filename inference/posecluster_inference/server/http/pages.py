"""The playground, the API reference and the files that they load, served from memory."""

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path

from posecluster_inference.errors import PoseClusterError

PLAYGROUND = "index.html"
REFERENCE = "docs.html"

# This package contains the viewer of the API reference. It is never imported; only its files are read.
VIEWER = "flask-swagger-ui"
VIEWER_FOLDER = "flask_swagger_ui/dist"
VIEWER_FILES = ("swagger-ui.css", "swagger-ui-bundle.js")

CONTENT_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_LEVEL = 6  # gzip level; 9 takes almost twice as long at start and saves 1 %
_TEXT = frozenset({".css", ".html", ".js", ".svg"})

# The policy forbids inline code, content of other hosts and framing. Style properties that scripts set are
# not inline styles. Both pages show pictures as blob:, and the style sheet of the viewer contains pictures as
# data:.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The playground never converts text to markup or scripts, which this policy enforces; the viewer does.
_STRICT_POLICY = f"{_POLICY}; require-trusted-types-for 'script'; trusted-types 'none'"
_OF_EVERY_FILE = {
    "Cache-Control": "no-cache",  # revalidated at each use, so that no old script is used after an upgrade
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_OF_EVERY_PAGE = {
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is served; `packed` is its gzip form, or None for formats that are compressed already."""

    body: bytes
    packed: bytes | None
    tag: str
    headers: dict[str, str]


@dataclass(slots=True)
class Pages:
    """All files, available after `read`."""

    _files: dict[str, File] = field(default_factory=dict)

    def read(self) -> None:
        """Read and compress all files; blocks. Raises PoseClusterError if the viewer is not installed."""
        self._files = {name: _file(name, path.read_bytes()) for name, path in _sources()}

    def get(self, name: str) -> File | None:
        """Return the page or asset of this name; None if it does not exist."""
        return self._files.get(name)


def asset_names() -> list[str]:
    """Return the sorted names of the files below /assets; reads the file system."""
    return sorted(name for name, _path in _sources() if name not in (PLAYGROUND, REFERENCE))


def _sources() -> Iterator[tuple[str, Traversable]]:
    package = resources.files("posecluster_inference")
    for name in (PLAYGROUND, REFERENCE):
        yield name, package / "page" / name
    for path in (package / "page" / "assets").iterdir():
        yield path.name, path
    yield "astronaut.jpg", package / "data" / "astronaut.jpg"
    try:
        viewer = metadata.distribution(VIEWER)
    except metadata.PackageNotFoundError:
        raise PoseClusterError(
            f"the package {VIEWER} is missing: install requirements/inference.txt"
        ) from None
    for name in VIEWER_FILES:
        yield name, Path(str(viewer.locate_file(f"{VIEWER_FOLDER}/{name}")))


def _file(name: str, body: bytes) -> File:
    suffix = Path(name).suffix
    is_text = suffix in _TEXT
    packed = gzip.compress(body, compresslevel=_LEVEL, mtime=0) if is_text else None
    content_type = CONTENT_TYPES[suffix]
    headers = {"Content-Type": f"{content_type}; charset=utf-8" if is_text else content_type} | _OF_EVERY_FILE
    if suffix == ".html":
        policy = _STRICT_POLICY if name == PLAYGROUND else _POLICY
        headers |= {"Content-Security-Policy": policy} | _OF_EVERY_PAGE
    return File(body, packed, hashlib.sha256(body).hexdigest()[:16], headers)
