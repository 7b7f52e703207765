"""What an Event on a PoseCluster says."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Notice:
    """An Event about a transition."""

    type: Literal["Normal", "Warning"]
    reason: str
    note: str
