"""Descriptions of model files: names, addresses and accepted contents."""

from dataclasses import dataclass
from enum import StrEnum


class Origin(StrEnum):
    """Whether a file is identical to the released file."""

    OFFICIAL = "official"
    REBUILT = "rebuilt"


@dataclass(frozen=True, slots=True)
class Pinned:
    """An accepted content of a model file; `size` is in bytes."""

    sha256: str
    size: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class Model:
    """A model file: its name, the address at which it is published, and its accepted contents."""

    task: str
    variant: str
    file_name: str
    accepted: tuple[Pinned, ...]
    address: str

    @property
    def largest(self) -> int:
        """Size of the largest accepted content in bytes; no more is ever read."""
        return max(pinned.size for pinned in self.accepted)
