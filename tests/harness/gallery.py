"""The test pictures: stored photos (tests/data/pictures, with licences) and generated ones, in one list."""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from harness.made_formats import made_formats
from harness.made_hostile import made_hostile
from harness.pictures import ROOT
from harness.scene import STORED, Picture

_GOLDENS = ROOT / "tests" / "golden" / "mediapipe.json"
_STORED_ROWS = {"multi": ("I-18",), "none": ("I-18",), "formats": ("I-13",)}


@cache
def manifest() -> dict[str, Picture]:
    """Every picture by its file name such as "single/mp_pose.jpg"."""
    photos = {
        entry["file"]: Picture(
            (STORED / entry["file"]).read_bytes,
            size=(entry["width"], entry["height"]),
            golden=entry.get("golden", ""),
            rows=_STORED_ROWS.get(entry["file"].split("/")[0], ()),
        )
        for entry in stored()
    }
    return photos | made_formats() | made_hostile()


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
    return manifest()[file].make()


def pictures(files: Iterable[str]) -> list[bytes]:
    """The bytes of several."""
    return [picture(file) for file in files]


def stored() -> list[dict[str, Any]]:
    """The entries of the manifest of stored photos: file, size, sha256, licence and source."""
    entries: list[dict[str, Any]] = json.loads((STORED / "manifest.json").read_text(encoding="utf-8"))
    return entries


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
