"""Files for people's browsers: the playground, the API reference and what they load, kept in memory."""

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

# The viewer of the API reference comes in this package; it is never imported, only its files are read.
_VIEWER = "flask-swagger-ui"
_VIEWER_FOLDER = "flask_swagger_ui/dist"
_VIEWER_FILES = ("swagger-ui.css", "swagger-ui-bundle.js")

CONTENT_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_LEVEL = 6  # of gzip: 9 takes almost twice as long at the start, for 1 %
_TEXT = frozenset({".css", ".html", ".js", ".svg"})

# Nothing inline, nothing from another host, and nobody may frame us. Style *properties* that scripts set
# are no inline style. Both pages show pictures as blob:, the viewer's style sheet has its own as data:.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# our own page never turns text into markup or script, and the browser sees to it; the viewer does
_STRICT_POLICY = f"{_POLICY}; require-trusted-types-for 'script'; trusted-types 'none'"
_OF_EVERY_FILE = {
    "Cache-Control": "no-cache",  # kept, but asked for each time: no old script stays after an upgrade
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
    """A file as it is answered; `packed` is its gzip form where that saves anything."""

    body: bytes
    packed: bytes | None
    tag: str
    headers: dict[str, str]


@dataclass(slots=True)
class Pages:
    """All files, after `read`."""

    _files: dict[str, File] = field(default_factory=dict)

    def read(self) -> None:
        """Read and pack all files; blocks. Raises PoseClusterError if the viewer is not installed."""
        self._files = {name: _file(name, path.read_bytes()) for name, path in _sources()}

    def get(self, name: str) -> File | None:
        """Return the page or asset of that name, None if there is none."""
        return self._files.get(name)


def asset_names() -> list[str]:
    """Names of the files below /assets, sorted; looks at the disk."""
    return sorted(name for name, _path in _sources() if name not in (PLAYGROUND, REFERENCE))


def _sources() -> Iterator[tuple[str, Traversable]]:
    package = resources.files("posecluster_inference")
    for name in (PLAYGROUND, REFERENCE):
        yield name, package / "page" / name
    for path in (package / "page" / "assets").iterdir():
        yield path.name, path
    yield "astronaut.jpg", package / "data" / "astronaut.jpg"
    try:
        viewer = metadata.distribution(_VIEWER)
    except metadata.PackageNotFoundError:
        raise PoseClusterError(
            f"the package {_VIEWER} is missing: install requirements/inference.txt"
        ) from None
    for name in _VIEWER_FILES:
        yield name, Path(str(viewer.locate_file(f"{_VIEWER_FOLDER}/{name}")))


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
