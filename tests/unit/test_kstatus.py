"""The kstatus rules that the tests apply, compared with the verdicts of the library itself."""

from typing import Any

import pytest

from harness.kstatus import CURRENT, FAILED, IN_PROGRESS, kstatus

pytestmark = pytest.mark.unit

GENERATION = 7


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, CURRENT),  # why there is a default
        ({}, CURRENT),
        ({"observedGeneration": 6}, IN_PROGRESS),
        ({"observedGeneration": 8}, IN_PROGRESS),
        ({"observedGeneration": 7}, CURRENT),
        ({"conditions": ["Ready=True"]}, CURRENT),
        ({"conditions": ["Ready=False"]}, IN_PROGRESS),
        ({"conditions": ["Ready=Unknown"]}, IN_PROGRESS),
        ({"conditions": ["Available=False", "Progressing=False"]}, CURRENT),  # what it was before
        ({"conditions": ["Ready=True", "Reconciling=True"]}, IN_PROGRESS),
        ({"conditions": ["Ready=True", "Stalled=True"]}, FAILED),
        ({"conditions": ["Ready=False", "Stalled=False"]}, IN_PROGRESS),
        ({"conditions": ["Stalled=Unknown"]}, CURRENT),
        ({"conditions": ["Stalled=True", "Reconciling=True"]}, FAILED),
        ({"conditions": ["Reconciling=True", "Stalled=True"]}, IN_PROGRESS),
        ({"observedGeneration": 6, "conditions": ["Stalled=True"]}, IN_PROGRESS),
    ],
)
def test_kstatus_rules_give_the_verdicts_of_the_library(status: dict[str, Any] | None, expected: str) -> None:
    item: dict[str, Any] = {"metadata": {"generation": GENERATION}}
    if status is not None:
        pairs = [one.split("=") for one in status.get("conditions", ())]
        item["status"] = status | {"conditions": [{"type": kind, "status": value} for kind, value in pairs]}
    assert kstatus(item) == expected
