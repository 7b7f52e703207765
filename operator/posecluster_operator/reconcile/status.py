"""Computation of the status from observed objects, and of Events from its changes. Pure.

The status is computed as a whole. From the current status it takes only `lastTransitionTime`s and, while
paused, `observedGeneration`, so that changes by other clients are replaced.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal

from posecluster_operator.builders.table import CLIENT_SERVICE, INFERENCE_DEPLOYMENT
from posecluster_operator.reconcile.disruption_status import disruption_as_before, disruption_condition
from posecluster_operator.reconcile.readiness import (
    is_rolled_out,
    observed_generation,
    readiness,
    ready_generation,
    was_rolled_out,
)
from posecluster_operator.reconcile.rollout_diagnosis import (
    Failure,
    find_failure,
    has_given_up,
    judges_current_spec,
)
from posecluster_operator.reconcile.scaling_status import (
    SCALE_IGNORED,
    scaling_as_before,
    scaling_condition,
    shown_load,
)
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, condition, count, text
from posecluster_operator.resource.notice import Notice
from posecluster_operator.resource.posecluster import PoseCluster
from posecluster_operator.resource.reasons import (
    AvailableReason,
    ConditionType,
    ConditionValue,
    DisruptionReason,
    ProgressingReason,
    ScalingReason,
)
from posecluster_operator.resource.stable_text import stamp
from posecluster_operator.scaling.order import Order
from posecluster_operator.scaling.policy import Decision
from posecluster_operator.scaling.policy.shown import Shown
from posecluster_operator.scaling.silence import Silent

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)
_HTTP_PORT = 80
_ON_THE_WAY = {
    ProgressingReason.ROLLOUT_COMPLETE,
    ProgressingReason.ROLLING_OUT,
    ProgressingReason.ROLLOUT_QUEUED,
}
# reasons for False that the user has chosen
_WISHED = {
    AvailableReason.SCALED_TO_ZERO,
    ProgressingReason.PAUSED,
    ScalingReason.FIXED_SIZE,
    ScalingReason.PAUSED,
}

# The load is unknown although it should be known. If this lasts, it causes an Event.
_BLIND = {ScalingReason.NO_METRICS, ScalingReason.PARTIAL_METRICS}
_BLIND_LASTS = timedelta(minutes=1)

OVERRIDDEN = "An admission webhook or policy of the cluster changes these fields in the operator's requests:"

# Conditions whose transitions cause Events. Ready, Reconciling and Stalled only repeat them.
_TOLD = (
    ConditionType.AVAILABLE,
    ConditionType.PROGRESSING,
    ConditionType.SCALING_ACTIVE,
    ConditionType.DISRUPTION_SAFE,
)
# These follow from the size alone, and the Event about the size reports it.
_FROM_SIZE = {DisruptionReason.PROTECTED, DisruptionReason.SINGLE_REPLICA}

# reasons for which the pass did not apply all children; the size is that of the Deployment
_NOT_APPLIED = {
    ProgressingReason.PAUSED,
    ProgressingReason.INVALID_SPEC,
    ProgressingReason.NAME_TAKEN,
    ProgressingReason.APPLY_REJECTED,
    ProgressingReason.FORBIDDEN,
}


def compute_status(
    cluster: PoseCluster,
    *,
    deployment: Json | None,
    pods: Sequence[Json],
    decision: Decision | None,
    problem: Failure | None,
    now: datetime,
    service: Json | None = None,
    shown: Shown | None = None,
    last_scaling: Json | None = None,
    rolled_out: int = 0,
    order: Order | None = None,
    silent: Silent = MappingProxyType({}),
    delays_drains: bool = False,
    overridden: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the whole status.

    `deployment` runs inference in `pods`, and `service` is the one for clients; they are None or empty if
    they do not exist. `problem`, which prevented the pass from acting, takes precedence over the Deployment.
    Without a decision (paused, invalid spec) the size is that of the Deployment. `shown` is the load to show;
    if it is None and the decision follows from load, the load in the status is kept. `last_scaling` is None
    if the size has not changed. `rolled_out` is the generation rolled out last, or 0. `order`, `silent` and
    `delays_drains` are for DisruptionSafe, see `disruption_status`. `now` (aware) is the
    transition time of conditions that change.
    """
    observed = child(deployment, "status")
    desired = decision.replicas if decision else count(child(deployment, "spec"), "replicas")
    sizes = {
        "replicas": count(observed, "replicas"),
        "readyReplicas": count(observed, "readyReplicas"),
        "desiredReplicas": desired,
    }
    is_applied = problem is None and decision is not None
    is_contested = problem is not None and problem.reason is ProgressingReason.CONTESTED
    is_queued = problem is not None and problem.reason is ProgressingReason.ROLLOUT_QUEUED
    available = _available(sizes["readyReplicas"], to_zero=not desired and bool(decision or deployment))
    progressing = _progressing(cluster, deployment, pods, desired, problem, overridden)
    # While another client changes the children, they do not reliably match the spec.
    done = not is_contested and is_rolled_out(
        cluster, deployment, desired if is_applied else None, last=rolled_out
    )
    values = readiness(
        available,
        progressing,
        is_rolled_out=done,
        is_final=(problem is not None and not is_queued) or has_given_up(child(deployment)),
    ) | {
        ConditionType.AVAILABLE: available,
        ConditionType.PROGRESSING: progressing,
        ConditionType.SCALING_ACTIVE: scaling_condition(cluster, decision, shown),
        ConditionType.DISRUPTION_SAFE: disruption_condition(
            desired, order=order, silent=silent, delays_drains=delays_drains
        ),
    }
    status = _status(cluster, sizes, values, endpoint=_endpoint(cluster, service), now=now)
    load = shown_load(cluster, decision, shown)
    return status | ({"load": load} if load else {}) | ({"lastScaling": last_scaling} if last_scaling else {})


def applied_generation(status: Json) -> int:
    """Return the generation whose children were applied according to the status, or 0 if that is unknown."""
    reason = text(condition(status, ConditionType.PROGRESSING), "reason")
    return 0 if reason in _NOT_APPLIED else count(status, "observedGeneration")


def mark_problem(cluster: PoseCluster, problem: Failure, *, now: datetime) -> dict[str, Any]:
    """Return the status if the children could not be read: the current one with the problem."""
    before = cluster.status
    sizes = {name: count(before, name) for name in ("replicas", "readyReplicas", "desiredReplicas")}
    was_zero = text(condition(before, ConditionType.AVAILABLE), "reason") == AvailableReason.SCALED_TO_ZERO
    available = _available(sizes["readyReplicas"], to_zero=was_zero)
    progressing: ConditionValue = (problem.reason in _ON_THE_WAY, problem.reason, problem.message)
    is_as_before = was_rolled_out(cluster, ready_generation(before))
    values = readiness(available, progressing, is_rolled_out=is_as_before, is_final=True) | {
        ConditionType.AVAILABLE: available,
        ConditionType.PROGRESSING: progressing,
        ConditionType.SCALING_ACTIVE: (
            scaling_as_before(cluster)
            if condition(before, ConditionType.SCALING_ACTIVE)
            else scaling_condition(cluster, None, None)
        ),
        ConditionType.DISRUPTION_SAFE: disruption_as_before(cluster)
        or disruption_condition(sizes["desiredReplicas"], order=None, silent={}, delays_drains=False),
    }
    endpoint = text(before, "endpoint") or _endpoint(cluster, None)
    kept = {name: child(before, name) for name in ("load", "lastScaling") if child(before, name)}
    return _status(cluster, sizes, values, endpoint=endpoint, now=now) | kept


def _endpoint(cluster: PoseCluster, service: Json | None) -> str:
    """Return the URL for clients, with the port of the Service if it exists."""
    ports = child(service, "spec").get("ports")
    first = child(ports[0]) if isinstance(ports, list) and ports else {}
    port = count(first, "port") or cluster.spec.service.port
    suffix = "" if port == _HTTP_PORT else f":{port}"
    return f"http://{CLIENT_SERVICE.name(cluster.name)}.{cluster.namespace}.svc{suffix}"


def _status(
    cluster: PoseCluster,
    sizes: Mapping[str, int],
    values: Mapping[ConditionType, ConditionValue],
    *,
    endpoint: str,
    now: datetime,
) -> dict[str, Any]:
    generation = observed_generation(cluster)
    return {
        "observedGeneration": generation,
        **sizes,
        "selector": INFERENCE_DEPLOYMENT.selector_text(cluster.name),
        "endpoint": endpoint,
        "conditions": [
            _condition(cluster.status, kind, value, generation, now) for kind, value in values.items()
        ],
    }


def _condition(
    before: Json, kind: ConditionType, value: ConditionValue, generation: int, now: datetime
) -> dict[str, Any]:
    holds, reason, message = value
    status = "True" if holds else "False"
    previous = condition(before, kind)
    since = text(previous, "lastTransitionTime")
    # a time more than a day in the future was not written by an operator
    ahead = since > stamp(now + timedelta(days=1))
    if text(previous, "status") != status or ahead or not _TIME.fullmatch(since):
        since = stamp(now)
    return {
        "type": kind.value,
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": since,
        "reason": reason.value,
        "message": message,
    }


def _available(ready: int, *, to_zero: bool) -> ConditionValue:
    if ready:
        return True, AvailableReason.PODS_READY, "At least one pod is ready."
    if to_zero:
        return False, AvailableReason.SCALED_TO_ZERO, "spec.replicas is 0."
    return False, AvailableReason.NO_READY_PODS, "No pod is ready."


def _progressing(
    cluster: PoseCluster,
    deployment: Json | None,
    pods: Sequence[Json],
    desired: int,
    problem: Failure | None,
    overridden: Sequence[str],
) -> ConditionValue:
    also = f" {OVERRIDDEN} {'; '.join(overridden)}." if overridden else ""
    # A failure of the present pods matters more than a rollout that waits.
    is_queued = problem is not None and problem.reason is ProgressingReason.ROLLOUT_QUEUED
    if problem and not is_queued:
        return problem.reason in _ON_THE_WAY, problem.reason, problem.message
    if cluster.paused:
        message = 'The annotation posecluster.io/paused is "true"; nothing is changed.'
        return False, ProgressingReason.PAUSED, message
    if deployment is not None:
        is_complete = _is_complete(deployment, desired)
        if is_complete and not is_queued:
            message = "All desired pods are ready and match the spec."
            return True, ProgressingReason.ROLLOUT_COMPLETE, message + also
        secret = cluster.spec.auth.token_secret_name
        if not is_complete and (failure := find_failure(deployment, pods, token_secret=secret)):
            return False, failure.reason, failure.message
    if problem:
        return True, problem.reason, problem.message
    return True, ProgressingReason.ROLLING_OUT, "Pods are being started or replaced." + also


def _is_complete(deployment: Json, desired: int) -> bool:
    status = child(deployment, "status")
    sizes = [
        count(status, name) for name in ("updatedReplicas", "replicas", "readyReplicas", "availableReplicas")
    ]
    sizes.append(count(child(deployment, "spec"), "replicas"))
    return judges_current_spec(deployment) and all(size == desired for size in sizes)


def status_patch(before: Json, after: Json) -> dict[str, Any] | None:
    """Return the merge patch from `before` to `after`, or None if they are equal.

    Lists are replaced as a whole; keys that `after` lacks are removed.
    """
    old = child(before)
    changed = {
        key: value for key, value in after.items() if key not in old or _text(old[key]) != _text(value)
    }
    changed |= {key: None for key in old if key not in after}
    return {"status": changed} if changed else None


def _text(value: object) -> str:
    """Return a comparable text, because `1 == True` holds in Python but not in JSON."""
    return json.dumps(value, sort_keys=True)


def notices(before: Json, after: Json) -> tuple[Notice, ...]:
    """Return the Events for a status change: at most one per condition, and one for a new size.

    The first status causes Events only for failures. Starting pods cause none, and simultaneous improvements
    of several conditions cause one.
    """
    first = not condition(before, ConditionType.PROGRESSING)
    found = []
    for kind in _TOLD:
        old, new = condition(before, kind), condition(after, kind)
        if all(text(old, key) == text(new, key) for key in ("status", "reason")):
            continue
        bad = text(new, "status") == "False" and text(new, "reason") not in _WISHED
        told = kind is ConditionType.PROGRESSING if first else not _goes_without_saying(kind, old, new, after)
        if told and (bad or not first):
            weight: Literal["Normal", "Warning"] = "Warning" if bad else "Normal"
            found.append(Notice(weight, text(new, "reason"), text(new, "message")))
    sizes = [child(status).get("desiredReplicas") for status in (before, after)]
    if not first and sizes[0] != sizes[1] and all(type(size) is int for size in sizes) and _is_sized(after):
        last = child(after, "lastScaling")
        why = f": {text(last, 'message')}" if [last.get("from"), last.get("to")] == sizes else ""
        found.append(Notice("Normal", "Scaled", f"Scaled from {sizes[0]} to {sizes[1]}{why}"))
    if _begins_to_be_overridden(before, after):
        found.append(
            Notice("Warning", "Overridden", text(condition(after, ConditionType.PROGRESSING), "message"))
        )
    if _begins_to_ignore_scale(before, after):
        found.append(Notice("Warning", "ScaleIgnored", SCALE_IGNORED))
    return tuple(found)


def _begins_to_be_overridden(before: Json, after: Json) -> bool:
    """Return whether admission is newly observed to change fields."""
    old, new = (text(condition(status, ConditionType.PROGRESSING), "message") for status in (before, after))
    return OVERRIDDEN in new and OVERRIDDEN not in old


def _begins_to_ignore_scale(before: Json, after: Json) -> bool:
    """Return whether `spec.replicas` is newly ignored, except after a switch from mode `Fixed`."""
    old, new = (condition(status, ConditionType.SCALING_ACTIVE) for status in (before, after))
    had_effect = text(old, "reason") == ScalingReason.FIXED_SIZE
    return (
        SCALE_IGNORED in text(new, "message") and SCALE_IGNORED not in text(old, "message") and not had_effect
    )


def lasting_blindness(status: Json, *, now: datetime) -> Notice | None:
    """Return the Event for load that could not be read for a minute although a pod is ready, or None.

    The first status never causes it, because the pods are only starting then.
    """
    scaling = condition(status, ConditionType.SCALING_ACTIVE)
    since = text(scaling, "lastTransitionTime")
    if (
        text(scaling, "reason") not in _BLIND
        or not count(child(status), "readyReplicas")
        or not _TIME.fullmatch(since)
        or since > stamp(now - _BLIND_LASTS)
    ):
        return None
    return Notice("Warning", text(scaling, "reason"), text(scaling, "message"))


def _goes_without_saying(kind: ConditionType, old: Json, new: Json, after: Json) -> bool:
    reason, progressing = text(new, "reason"), text(condition(after, ConditionType.PROGRESSING), "reason")
    if kind is ConditionType.DISRUPTION_SAFE:
        return reason in _FROM_SIZE
    if kind is ConditionType.AVAILABLE:
        return reason == AvailableReason.PODS_READY and progressing == ProgressingReason.ROLLOUT_COMPLETE
    if kind is ConditionType.PROGRESSING:
        return reason == ProgressingReason.ROLLING_OUT and text(old, "status") == "True"
    if text(old, "status") == text(new, "status") == "True":
        return True  # the Event Scaled reports a new size
    return ScalingReason.PAUSED in (reason, text(old, "reason"))  # the Event about Progressing reports it


def _is_sized(status: Json) -> bool:
    """Return whether the operator set the size, not while paused or if the pass did not apply it."""
    reason = text(condition(status, ConditionType.PROGRESSING), "reason")
    return reason not in _NOT_APPLIED


def repaired(kind: str, name: str) -> Notice:
    """Return the Event for a child that another client changed or deleted, and the operator restored."""
    return Notice("Normal", "Repaired", f"Restored {kind} {name}, which had been changed or deleted")
