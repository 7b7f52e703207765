"""The content of an Event on a PoseCluster."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Notice:
    """An Event to emit: its type, reason and note."""

    type: Literal["Normal", "Warning"]
    reason: str
    note: str
