"""Which model files are accepted, and where each is published: pinned by sha256, never "latest".

Sizes, hashes and sources: docs/models.md. Adding a model is adding a row to `CATALOGUE`.
"""

from dataclasses import dataclass
from enum import StrEnum


class Origin(StrEnum):
    """Whether a file is byte for byte the released one."""

    OFFICIAL = "official"
    REBUILT = "rebuilt"


@dataclass(frozen=True, slots=True)
class Pinned:
    """One accepted content of a model file; `size` in bytes."""

    sha256: str
    size: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class Model:
    """One model file: where it is published, and which contents are accepted under its name."""

    task: str
    variant: str
    file_name: str
    accepted: tuple[Pinned, ...]
    address: str

    @property
    def largest(self) -> int:
        """Bytes of the largest accepted content: nothing longer is read."""
        return max(pinned.size for pinned in self.accepted)


# Google's public store of released MediaPipe bundles; "/1/" is a fixed release, "/latest/" moves
_STORE = "https://storage.googleapis.com/mediapipe-models/pose_landmarker"


def _pose(variant: str, *accepted: Pinned) -> Model:
    name = f"pose_landmarker_{variant}"
    address = f"{_STORE}/{name}/float16/1/{name}.task"
    return Model("pose", variant, f"{name}.task", accepted, address)


CATALOGUE: tuple[Model, ...] = (
    _pose(
        "lite",
        Pinned(
            "59929e1d1ee95287735ddd833b19cf4ac46d29bc7afddbbf6753c459690d574a", 5_777_746, Origin.OFFICIAL
        ),
        # same networks, metadata text of the full bundle: 32 bytes shorter than the released file
        Pinned("c03c0aa432d4ea37493acd864a37679496b3af39df9053329884835e6856664c", 5_777_714, Origin.REBUILT),
    ),
    _pose(
        "full",
        Pinned(
            "5134a3aad27a58b93da0088d431f366da362b44e3ccfbe3462b3827a839011b1", 9_398_198, Origin.OFFICIAL
        ),
        # what "/latest/" gave: the same two networks, ZIP time stamps two seconds later
        Pinned(
            "4eaa5eb7a98365221087693fcc286334cf0858e2eb6e15b506aa4a7ecdcec4ad", 9_398_198, Origin.OFFICIAL
        ),
    ),
    _pose(
        "heavy",
        Pinned(
            "64437af838a65d18e5ba7a0d39b465540069bc8aae8308de3e318aad31fcbc7b", 30_664_242, Origin.OFFICIAL
        ),
    ),
)
