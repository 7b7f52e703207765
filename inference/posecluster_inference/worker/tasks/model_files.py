"""Descriptions of model files: names, addresses and accepted contents."""

from dataclasses import dataclass
from enum import StrEnum


class Origin(StrEnum):
    """Whether the published file is identical to the released one."""

    OFFICIAL = "official"
    REBUILT = "rebuilt"


@dataclass(frozen=True, slots=True)
class Pinned:
    """An accepted content of a model file; `size` is in bytes.

    `trimmed_sha256` is the hash of the same file without its unused parts (`models.trimming`), which has the
    same size. It is None if there is no such form, or none whose hash is known.
    """

    sha256: str
    size: int
    origin: Origin
    trimmed_sha256: str | None = None


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
