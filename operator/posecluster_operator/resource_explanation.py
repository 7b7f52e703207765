"""Why a PoseCluster has its size, as far as the resource itself tells; its status may lag. Pure."""

from datetime import UTC, datetime

from posecluster_operator.autoscaler.advice import Case, advice, fixed_command
from posecluster_operator.autoscaler.explanation import Row, objective_line, page, pods, title
from posecluster_operator.autoscaler.policy import policy_of
from posecluster_operator.fields import Json
from posecluster_operator.models import PoseCluster, ScalingMode
from posecluster_operator.observed import child, condition, count, text
from posecluster_operator.reasons import ConditionType, ProgressingReason, ScalingReason
from posecluster_operator.scaling_status import SCALE_IGNORED

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def needs_operator(cluster: PoseCluster) -> bool:
    """Return whether the operator knows more of the size than the resource says."""
    return not cluster.paused and cluster.spec.scaling.mode is ScalingMode.AUTO


def explain_resource(cluster: PoseCluster) -> str:
    """Return what the resource says of its size."""
    status, policy, reason = cluster.status, policy_of(cluster), _reason(cluster)
    case = Case(
        namespace=cluster.namespace,
        name=cluster.name,
        replicas=count(status, "desiredReplicas"),
        policy=policy,
        ready=count(status, "readyReplicas"),
    )
    if reason is None:
        return page(
            f"{title(case)}: no operator has looked at it yet",
            [
                (
                    "To do",
                    ["Is the operator running, does it hold its Lease, and does it watch this namespace?"],
                )
            ],
        )
    rows: list[Row] = [("Why", [reason.message]), ("To do", advice(reason, case))]
    if needs_operator(cluster):
        rows += [("Asked for", [_load(status)]), ("Objective", [objective_line(policy)])]
    load = child(status, "load") if needs_operator(cluster) else {}
    read = f", {count(load, 'scrapedPods')} read" if load else ""
    rows.append(("Pods", [f"{case.replicas} ordered, {case.ready} ready{read}"]))
    return page(f"{title(case)}: {reason}", rows)


def resource_rows(cluster: PoseCluster, now: datetime) -> list[Row]:
    """Return what the resource tells besides: the last change, what stops the pods, what was not seen yet."""
    status = cluster.status
    rows: list[Row] = []
    if last := _last_change(child(status, "lastScaling"), now):
        rows.append(("Last change", [last]))
    if cluster.is_scale_ignored:
        lines = [SCALE_IGNORED, f"For a fixed size of {pods(cluster.spec.replicas)}:"]
        rows.append(
            ("Ignored", [*lines, fixed_command(cluster.namespace, cluster.name, cluster.spec.replicas)])
        )
    progressing = condition(status, ConditionType.PROGRESSING)
    quiet = {ProgressingReason.ROLLOUT_COMPLETE.value, ProgressingReason.PAUSED.value, ""}
    if (reason := text(progressing, "reason")) not in quiet:
        label = "Rollout" if text(progressing, "status") == "True" else "Stuck"
        rows.append((label, [f"{reason}: {text(progressing, 'message')}"]))
    seen = count(status, "observedGeneration")
    if seen < cluster.generation:
        rows.append(("Spec", [f"not acted on yet: generation {cluster.generation}, seen {seen}"]))
    return rows


def _reason(cluster: PoseCluster) -> ScalingReason | None:
    if cluster.paused:
        return ScalingReason.PAUSED
    if cluster.spec.scaling.mode is ScalingMode.FIXED:
        return ScalingReason.FIXED_SIZE
    told = text(condition(cluster.status, ConditionType.SCALING_ACTIVE), "reason")
    return next((reason for reason in ScalingReason if reason == told), None)


def _load(status: Json) -> str:
    load = child(status, "load")
    if not load:
        return "not known: status.load is not there"
    late = count(load, "lateRequestsPermille") / 10
    return (
        f"{count(load, 'requestsPerSecond')} requests/s; {count(load, 'queued')} wait,"
        f" {count(load, 'running')} are in work; {late:g} % were late or refused"
        " (status.load, written every 10 s at most)"
    )


def _last_change(last: Json, now: datetime) -> str:
    if not last:
        return ""
    change = (
        f"from {count(last, 'from')} to {count(last, 'to')}: {text(last, 'reason')}, {text(last, 'message')}"
    )
    return f"{_when(text(last, 'time'), now)} {change}"


def _when(time: str, now: datetime) -> str:
    try:
        seconds = (now - datetime.fromisoformat(time).astimezone(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return "at an unknown time"
    unit, length = next(((unit, length) for unit, length in _UNITS if seconds >= length), ("s", 1))
    return f"{max(0, int(seconds // length))} {unit} ago"
