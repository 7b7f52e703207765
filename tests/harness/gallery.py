"""The test pictures: stored photos (tests/data/pictures, with their licences) and made ones, in one list."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.made_formats import made_formats
from harness.made_hostile import made_hostile
from harness.pictures import ROOT
from harness.scene import SERVED, STORED, Made
from posecluster_inference.errors import Reason

_GOLDENS = ROOT / "tests" / "golden" / "mediapipe.json"
_STORED_ROWS = {"multi": ("I-18",), "none": ("I-18",), "formats": ("I-13",)}


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, and what the server must answer; the fields are those of `Made`."""

    file: str
    answers: frozenset[Reason | None]
    by_header: bool
    size: tuple[int, int] | None
    golden: str
    rows: tuple[str, ...]

    @property
    def is_served(self) -> bool:
        """Whether 200 is the only right answer."""
        return self.answers == SERVED

    def read(self) -> bytes:
        """The file's bytes."""
        return picture(self.file)


@cache
def manifest() -> dict[str, Picture]:
    """Every picture by its file name such as "single/mp_pose.jpg"."""
    found = {}
    for entry in stored():
        name = entry["file"]
        size, rows = (entry["width"], entry["height"]), _STORED_ROWS.get(name.split("/")[0], ())
        found[name] = Picture(name, SERVED, False, size, entry.get("golden", ""), rows)
    for name, one in _made().items():
        found[name] = Picture(name, one.answers, one.by_header, one.size, one.golden, one.rows)
    return found


def names(*, served: bool | None = None, folder: str = "") -> list[str]:
    """The files in order; only those that must be served (or only the others), only those of one folder."""
    return sorted(
        name
        for name, one in manifest().items()
        if name.startswith(folder) and served in (None, one.is_served)
    )


@cache
def picture(file: str) -> bytes:
    """The bytes of a picture; raises KeyError for an unknown one."""
    one = _made().get(file)
    return one.make() if one else (STORED / manifest()[file].file).read_bytes()


def pictures(files: Iterable[str]) -> list[bytes]:
    """The bytes of several."""
    return [picture(file) for file in files]


def stored() -> list[dict[str, Any]]:
    """The entries of the manifest of stored photos: file, size, sha256, licence and source."""
    entries: list[dict[str, Any]] = json.loads((STORED / "manifest.json").read_text(encoding="utf-8"))
    return entries


@cache
def _made() -> dict[str, Made]:
    return {**made_formats(), **made_hostile()}


@cache
def _goldens() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_GOLDENS.read_text(encoding="utf-8"))["landmarks"]
    return document


def golden_points(golden: str, variant: str = "full") -> list[list[float]]:
    """(33, 2): x and y that MediaPipe's own tests expect, as fractions of the upright picture.

    Raises KeyError if there are none for this variant.
    """
    by_variant = _goldens()[golden]
    points: list[list[float]] = by_variant.get("any") or by_variant[variant]
    return points
