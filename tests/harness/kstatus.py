"""What tools that follow the kstatus rules (Flux, Helm 4 `--wait`) conclude about a custom resource.

The rules of sigs.k8s.io/cli-utils/pkg/kstatus/status v0.37.2 for a kind that it does not know. The verdicts
in tests/unit/test_kstatus.py were compared with that library.
"""

from collections.abc import Mapping
from typing import Any

IN_PROGRESS, CURRENT, FAILED, TERMINATING = "InProgress", "Current", "Failed", "Terminating"
_ABNORMAL = {("Reconciling", "True"): IN_PROGRESS, ("Stalled", "True"): FAILED}
_READY = {("Ready", "True"): CURRENT, ("Ready", "False"): IN_PROGRESS, ("Ready", "Unknown"): IN_PROGRESS}


def kstatus(item: Mapping[str, Any]) -> str:
    """Return InProgress, Current, Failed or Terminating for an object as the API server returns it."""
    metadata, status = item["metadata"], item.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return TERMINATING
    if status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return IN_PROGRESS
    found = [(one["type"], one["status"]) for one in status.get("conditions") or ()]
    for verdicts in (_ABNORMAL, _READY):
        for condition in found:
            if condition in verdicts:
                return verdicts[condition]
    return CURRENT  # nothing says otherwise
