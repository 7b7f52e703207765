"""The test pictures: every file is listed, licensed and unchanged, and the list covers what it should."""

import hashlib
import json

import pytest

from harness.gallery import golden_points, manifest, names, picture, stored
from harness.scene import STORED
from posecluster_inference import pictures
from posecluster_inference.worker import codec

pytestmark = pytest.mark.unit

MOST_BYTES = 6_000_000  # of the repository, for pictures
LICENCES = {"Apache-2.0", "CC0-1.0", "CC-BY-2.0", "CC-BY-4.0", "CC-BY-SA-2.0", "US-Government-work"}
NEEDS_CREDIT = {"CC-BY-2.0", "CC-BY-4.0", "CC-BY-SA-2.0"}
REFUSED_SOURCES = ("pexels", "pixabay")
PAGES = {"manifest.json", "LICENCES.md"}


def test_folder_and_manifest_list_the_same_files() -> None:
    files = {path.relative_to(STORED).as_posix() for path in STORED.rglob("*") if path.is_file()}
    listed = [entry["file"] for entry in stored()]
    assert len(listed) == len(set(listed))
    assert files == {*listed, *PAGES}
    assert sum((STORED / file).stat().st_size for file in files) <= MOST_BYTES


@pytest.mark.parametrize("entry", stored(), ids=lambda entry: entry["file"])
def test_a_stored_picture_is_licensed_and_as_listed(entry: dict[str, str]) -> None:
    data = (STORED / entry["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    header = pictures.inspect(data, max_pixels=25_000_000, max_side=8_192)
    assert (header.width, header.height) == (entry["width"], entry["height"])

    assert entry["licence"] in LICENCES
    assert entry["credit"]
    assert entry["source"]
    assert entry["licence"] not in NEEDS_CREDIT or entry["page"].startswith("https://")
    assert not any(name in json.dumps(entry).lower() for name in REFUSED_SOURCES)
    if "changed" in entry:  # the copy of a picture has its licence
        (original,) = (other for other in stored() if other["file"] == entry["source"])
        assert entry["licence"] == original["licence"]
        assert entry["credit"] == original["credit"]


def test_the_licence_page_has_a_row_for_each_stored_picture() -> None:
    page = (STORED / "LICENCES.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for entry, row in zip(stored(), rows, strict=True):
        facts = [entry[key] for key in ("file", "shows", "credit", "licence")]
        facts += [entry.get("page", ""), entry.get("changed", "none")]
        assert [fact for fact in facts if fact not in row] == []


def test_the_gallery_covers_every_row_of_picture_inputs_that_files_can_show() -> None:
    rows = {row for one in manifest().values() for row in one.rows}
    assert rows == {f"I-{number}" for number in range(1, 19)} - {"I-9", "I-10"}
    assert len(names(folder="hostile/")) >= 55
    assert len(names(folder="multi/")) >= 8
    assert len(names(folder="none/")) >= 10
    assert len(names(served=True)) >= 65


def test_goldens_have_33_landmarks_inside_the_picture() -> None:
    goldens = {one.golden for one in manifest().values() if one.golden}
    assert goldens == {"mp_pose", "mp_test_image"}
    for golden in goldens:
        points = golden_points(golden)
        assert len(points) == 33
        assert all(0 <= value <= 1 for point in points for value in point)
    with pytest.raises(KeyError):
        golden_points("mp_test_image", "lite")


def test_made_pictures_are_the_same_each_time() -> None:
    for name in ("formats/pose_palette.png", "hostile/corrupt_scan.jpg", "none/synthetic_noise.jpg"):
        first = picture(name)
        picture.cache_clear()
        assert picture(name) == first
    with pytest.raises(KeyError):
        picture("formats/none.png")


def test_every_made_picture_of_the_scene_shows_it() -> None:
    """The golden is only right for pictures of the scene, upright."""
    import cv2
    import numpy as np

    def shrunk(name: str) -> np.ndarray:
        data = picture(name)
        pixels = codec.decode(data, pictures.inspect(data, max_pixels=25_000_000, max_side=8_192))
        return cv2.resize(pixels, (50, 33), interpolation=cv2.INTER_AREA).astype(int).mean(axis=2)

    scene = shrunk("single/mp_pose.jpg")
    for name in (name for name, one in manifest().items() if one.golden == "mp_pose"):
        assert np.abs(shrunk(name) - scene).mean() < 12, name
