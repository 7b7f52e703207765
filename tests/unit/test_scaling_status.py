"""What the status shows of scaling: updated rarely, correct, and unchanged while nothing is known."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from harness.kube_objects import deployment
from harness.poseclusters import posecluster
from harness.scaling import decision, fixed_decision, load
from posecluster_operator.reconcile.rollout_diagnosis import Failure
from posecluster_operator.reconcile.scaling_status import scaled
from posecluster_operator.reconcile.status import compute_status, mark_problem, notices
from posecluster_operator.resource.json_access import condition
from posecluster_operator.resource.reasons import ProgressingReason, ScalingReason
from posecluster_operator.scaling.policy import WINDOWS, Decision, Load
from posecluster_operator.scaling.policy.shown import Shown, differs, next_shown

pytestmark = pytest.mark.unit

NOW = datetime(2026, 11, 23, 2, 0, 0, tzinfo=UTC)
BLIND = ScalingReason.NO_METRICS


def status(made: Decision, shown: Shown | None, *, before: Any = None, last: Any = None) -> dict[str, Any]:
    return compute_status(
        posecluster(status=before),
        deployment=deployment(replicas=made.replicas, ready=made.replicas),
        pods=(),
        decision=made,
        shown=shown,
        last_scaling=last,
        problem=None,
        now=NOW,
    )


def scaling(status: Any) -> str:
    found = condition(status, "ScalingActive")
    return f"{found['status']}/{found['reason']}"


def first_shown(made: Decision, at: float = 0.0) -> Shown:
    shown = next_shown(at, made, None, resized=False)
    assert shown is not None
    return shown


def test_load_and_reason_are_shown() -> None:
    made = decision(3, ScalingReason.BURST)
    found = status(made, first_shown(made))
    assert scaling(found) == "True/Burst"
    assert found["load"] == {
        "queued": 4,
        "running": 6,
        "requestsPerSecond": 31,
        "lateRequestsPermille": 5,
        "scrapedPods": 3,
    }


@pytest.mark.parametrize("reason", [BLIND, ScalingReason.REPLICAS_TAKEN_OVER])
def test_without_load_none_is_shown(reason: ScalingReason) -> None:
    made = decision(3, reason, blind=reason, measured=False)
    before = status(decision(), first_shown(decision()))
    found = status(made, first_shown(made), before=before)
    assert scaling(found) == f"False/{reason}"
    assert "load" not in found


def test_partial_metrics_is_shown_with_what_is_known() -> None:
    made = decision(blind=ScalingReason.PARTIAL_METRICS, scraped_pods=2)
    found = status(made, first_shown(made))
    assert scaling(found) == "False/PartialMetrics"
    assert found["load"]["scrapedPods"] == 2


def test_while_nothing_is_known_yet_the_status_stays() -> None:
    before = status(decision(3, ScalingReason.BURST), first_shown(decision(3, ScalingReason.BURST)))
    unknown = decision(3, ScalingReason.JUST_STARTED, measured=False)
    assert next_shown(5.0, unknown, None, resized=False) is None
    found = status(unknown, None, before=before)
    assert (scaling(found), found["load"]) == ("True/Burst", before["load"])


@pytest.mark.parametrize(
    "forged", [{"status": "True", "reason": "NoMetrics"}, {"status": "True", "reason": "Made up"}, {}]
)
def test_an_impossible_load_in_the_status_is_removed(forged: dict[str, str]) -> None:
    before = {"conditions": [{"type": "ScalingActive", **forged}]}
    unknown = decision(3, ScalingReason.JUST_STARTED, measured=False)
    assert scaling(status(unknown, None, before=before)) == "False/NoMetrics"


def test_a_new_reason_or_load_waits_ten_seconds() -> None:
    shown = first_shown(decision())
    other = decision(3, ScalingReason.HOLDING_AFTER_BURST, requests_per_second=90)
    assert next_shown(WINDOWS.shown_seconds - 0.1, other, shown, resized=False) is shown
    later = next_shown(WINDOWS.shown_seconds, other, shown, resized=False)
    assert later is not None
    assert (later.reason, later.load) == (other.reason, other.load)


@pytest.mark.parametrize(
    ("made", "resized"),
    [(decision(5, ScalingReason.BURST), True), (decision(blind=ScalingReason.PARTIAL_METRICS), False)],
)
def test_a_new_size_or_blindness_is_shown_at_once(made: Decision, resized: bool) -> None:
    shown = first_shown(decision())
    assert next_shown(0.5, made, shown, resized=resized) is not shown


def test_partial_metrics_does_not_update_the_status_with_each_load() -> None:
    partial = ScalingReason.PARTIAL_METRICS
    shown = first_shown(decision(blind=partial))
    busier = decision(blind=partial, requests_per_second=90)
    assert next_shown(5.0, busier, shown, resized=False) is shown
    assert next_shown(WINDOWS.shown_seconds, busier, shown, resized=False) is not shown
    blind = decision(3, BLIND, blind=BLIND, measured=False)
    assert next_shown(5.0, blind, shown, resized=False) is shown, "one that comes and goes costs no writes"
    assert next_shown(WINDOWS.shown_seconds, blind, shown, resized=False) is not shown


def test_an_unchanged_load_never_updates_the_status() -> None:
    shown = first_shown(decision())
    assert next_shown(1e6, decision(requests_per_second=33), shown, resized=False) is shown
    blind = decision(3, BLIND, blind=BLIND, measured=False)
    shown = first_shown(blind)
    assert next_shown(1e6, blind, shown, resized=False) is shown


@pytest.mark.parametrize(
    ("one", "other", "different"),
    [
        (load(), load(), False),
        (load(), load(requests_per_second=37), False),
        (load(), load(requests_per_second=40), True),
        (load(queued=1), load(queued=2), False),
        (load(queued=1), load(queued=0), True),
        (load(scraped_pods=3), load(scraped_pods=4), True),
        (load(), None, True),
        (None, None, False),
    ],
)
def test_a_real_change_is_a_fifth_and_more_than_one(
    one: Load | None, other: Load | None, different: bool
) -> None:
    assert differs(one, other) is differs(other, one) is different


def test_the_last_scaling_is_reported_and_kept() -> None:
    made = decision(5, ScalingReason.BURST)
    last = scaled(made, before=3, now=NOW)
    assert (last["time"], last["from"], last["to"], last["reason"]) == ("2026-11-23T02:00:00Z", 3, 5, "Burst")
    before = status(decision(), first_shown(decision()))
    after = status(made, first_shown(made), before=before, last=last)
    assert after["lastScaling"] == last
    told = [notice for notice in notices(before, after) if notice.reason == "Scaled"]
    assert [notice.note for notice in told] == [f"Scaled from 3 to 5: {last['message']}"]
    assert "31.2 requests/s" in last["message"]
    assert status(made, first_shown(made), before=after, last=last)["lastScaling"] == last
    assert "lastScaling" not in status(made, first_shown(made), before=after), "forged"


IGNORED = "spec.replicas, which kubectl scale or an HPA set, has no effect while spec.scaling.mode is Auto"


def scaled_status(before: Any, *, is_scaled: bool = True, mode: str = "Auto") -> dict[str, Any]:
    cluster = posecluster({"scaling": {"mode": mode}}, status=before)
    made = decision() if mode == "Auto" else fixed_decision(3)
    return compute_status(
        replace(cluster, scaled=is_scaled),
        deployment=deployment(replicas=3, ready=3),
        pods=(),
        decision=made,
        shown=first_shown(made),
        problem=None,
        now=NOW,
    )


def test_a_scale_without_effect_is_in_the_message_and_one_event() -> None:
    before = scaled_status({}, is_scaled=False)
    assert IGNORED not in condition(before, "ScalingActive")["message"]
    after = scaled_status(before)
    assert IGNORED in condition(after, "ScalingActive")["message"]
    assert condition(after, "ScalingActive")["reason"] == condition(before, "ScalingActive")["reason"]
    assert [(one.type, one.reason) for one in notices(before, after)] == [("Warning", "ScaleIgnored")]
    assert notices(after, scaled_status(after)) == ()
    unreadable = mark_problem(
        replace(posecluster(status=after), scaled=True), Failure(ProgressingReason.FORBIDDEN, "x"), now=NOW
    )
    assert "ScaleIgnored" not in [one.reason for one in notices(after, unreadable)]
    assert "ScaleIgnored" not in [one.reason for one in notices(unreadable, scaled_status(unreadable))]


def test_a_scale_that_had_effect_in_fixed_is_no_event_after_a_switch_to_auto() -> None:
    fixed = scaled_status({}, mode="Fixed")
    assert IGNORED not in condition(fixed, "ScalingActive")["message"]
    after = scaled_status(fixed)
    assert "ScaleIgnored" not in [one.reason for one in notices(fixed, after)]


def test_a_fixed_size_says_where_it_comes_from() -> None:
    assert scaled(fixed_decision(4), before=1, now=NOW)["message"] == "spec.replicas is 4"


def test_reasons_say_whether_the_condition_holds() -> None:
    false = {reason for reason in ScalingReason if not reason.is_active}
    assert false == {"NoMetrics", "PartialMetrics", "ReplicasTakenOver", "FixedSize", "Paused"}
    for reason in ScalingReason:
        assert reason.message.endswith(".")
        assert "`" not in reason.message
        assert "True" not in reason.message
