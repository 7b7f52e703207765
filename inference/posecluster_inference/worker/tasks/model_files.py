"""What a task says of its model files: names, where each is published, and which contents are accepted."""

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
