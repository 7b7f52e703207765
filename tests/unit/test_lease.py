"""What is written into a Lease, for any previous content."""

from datetime import UTC, datetime
from typing import Any

import pytest

from posecluster_operator.kube.lease import record

pytestmark = pytest.mark.unit

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
TEXT = "2026-03-04T05:06:07.000000Z"
EARLIER = "2026-01-01T00:00:00.000000Z"


def _record(spec: Any, holder: str = "me", *, taken: bool) -> dict[str, Any]:
    return record({"spec": spec}, holder, seconds=15, now=NOW, taken=taken)


def test_times_have_six_digits_always_and_the_first_holder_is_no_transition() -> None:
    assert record(None, "me", seconds=15, now=NOW, taken=True) == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": TEXT,
        "renewTime": TEXT,
        "leaseTransitions": 0,
    }


def test_renewing_keeps_when_it_was_acquired() -> None:
    renewed = _record({"acquireTime": EARLIER, "leaseTransitions": 3, "renewTime": EARLIER}, taken=False)
    assert (renewed["acquireTime"], renewed["renewTime"], renewed["leaseTransitions"]) == (EARLIER, TEXT, 3)


def test_taking_over_counts_and_giving_up_does_not() -> None:
    old = {"acquireTime": EARLIER, "leaseTransitions": 3}
    assert _record(old, taken=True)["leaseTransitions"] == 4
    assert _record(old, taken=True)["acquireTime"] == TEXT
    assert _record(old, "", taken=True)["leaseTransitions"] == 3


@pytest.mark.parametrize("transitions", [None, -1, 2**31 - 1, "many", 1.5, 10**30])
def test_a_forged_count_begins_again_rather_than_making_the_lease_unwritable(transitions: Any) -> None:
    assert _record({"leaseTransitions": transitions}, taken=True)["leaseTransitions"] == 1


@pytest.mark.parametrize("spec", [None, [], "text", {}])
def test_a_lease_without_spec_is_treated_as_empty(spec: Any) -> None:
    assert _record(spec, taken=False)["holderIdentity"] == "me"
    assert _record(spec, taken=False)["acquireTime"] == TEXT
