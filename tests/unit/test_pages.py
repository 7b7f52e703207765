"""The files of the pages: which are served, with which headers, and that none refers to another host."""

import gzip
import re
from importlib import metadata
from pathlib import Path

import pytest

import posecluster_inference
from posecluster_inference.errors import PoseClusterError
from posecluster_inference.server.http.negotiation import accepts_gzip
from posecluster_inference.server.http.pages import PLAYGROUND, REFERENCE, Pages, asset_names

pytestmark = pytest.mark.unit

SOURCES = Path(posecluster_inference.__file__).parent / "page"
OURS = sorted(path for path in SOURCES.rglob("*") if path.is_file())
# names of XML vocabularies, which nothing fetches
NAMESPACE = "http://www.w3.org/2000/svg"
MOST_LINES = 300


@pytest.fixture(scope="module")
def read() -> Pages:
    result = Pages()
    result.read()
    return result


def test_every_file_is_there(read: Pages) -> None:
    assert {"main.js", "page.css", "icon.svg", "astronaut.jpg", "swagger-ui-bundle.js"} <= set(asset_names())
    for name in (PLAYGROUND, REFERENCE, *asset_names()):
        file = read.get(name)
        assert file is not None
        assert file.body
        assert file.packed is None or gzip.decompress(file.packed) == file.body
        assert (file.packed is None) == name.endswith(".jpg")
    assert read.get("nothing.js") is None
    assert read.get("../handlers.py") is None


@pytest.mark.parametrize("name", [PLAYGROUND, REFERENCE])
def test_the_policy_allows_nothing_inline_and_no_other_host(read: Pages, name: str) -> None:
    file = read.get(name)
    assert file is not None
    rules = dict(rule.strip().split(" ", 1) for rule in file.headers["Content-Security-Policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["frame-ancestors"] == "'none'"
    for rule, sources in rules.items():
        allowed = (
            {"'none'", "'self'", "blob:", "data:"}
            if rule.endswith(("img-src", "media-src"))
            else {"'none'", "'self'"}
        )
        assert rule.startswith(("require-", "trusted-")) or set(sources.split()) <= allowed


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_page_files_name_no_other_host_and_are_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", text.replace(NAMESPACE, ""))
    assert not re.search(r'(?:src|href)="/', text), "an absolute path breaks behind a prefix"
    assert len(text.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", [PLAYGROUND, REFERENCE])
def test_pages_have_nothing_inline_and_name_files_that_exist(name: str) -> None:
    text = (SOURCES / name).read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", text)
    named = set(re.findall(r'(?:src|href)="assets/([^"]+)"', text))
    assert named
    assert named <= set(asset_names())
    if name == PLAYGROUND:  # a module that is found only when another one arrives is late
        assert {path.name for path in OURS if path.suffix == ".js"} - {"docs.js"} <= named


def test_a_missing_viewer_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_such(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", none_such)
    with pytest.raises(PoseClusterError, match="flask-swagger-ui is missing"):
        Pages().read()


@pytest.mark.parametrize(
    ("field", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0, *", False),
        ("*", True),
        ("*;q=0", False),
        ("deflate", False),
        ("gzip;q=x", False),
    ],
)
def test_gzip_is_sent_to_those_who_take_it(field: str, accepted: bool) -> None:
    assert accepts_gzip(field) is accepted
