"""A trimmed model file gives the same answers as the published one, bit for bit."""

import hashlib
import os
from pathlib import Path

import pytest

from harness import gallery
from harness.plain_mediapipe import detect_plain
from harness.server import ROOT
from posecluster_inference.models import store
from posecluster_inference.models.trimming import trimmed

pytestmark = pytest.mark.component
FOLDER = Path(os.environ.get("POSECLUSTER_MODEL_DIR") or ROOT / "models") / "published"


def published(variant: str) -> store.VerifiedModel:
    model = store.select("pose", variant)
    if not (FOLDER / model.file_name).is_file():
        pytest.skip(f"no published {variant} model: run make test-models")
    return store.verified(FOLDER, "pose", variant)


@pytest.mark.parametrize("variant", ["lite", "full", "heavy"])
def test_trimmed_model_gives_equal_answers(variant: str, tmp_path: Path) -> None:
    original, files = published(variant), gallery.names(served=True)
    assert not original.trimmed
    content, shorter = trimmed(original.path.read_bytes()), tmp_path / original.path.name
    (pinned,) = (one for one in store.select("pose", variant).accepted if one.sha256 == original.sha256)
    assert pinned.trimmed_sha256 in (hashlib.sha256(content).hexdigest(), None)
    shorter.write_bytes(content)
    expected = detect_plain(original.path, gallery.pictures(files), max_people=5)
    assert sum(len(people) for people in expected) > len(files) // 2
    answers = detect_plain(shorter, gallery.pictures(files), max_people=5)
    assert [name for name, one, other in zip(files, expected, answers, strict=True) if one != other] == []
