"""Why a PoseCluster has its size, according to the resource, whose status may be outdated. Pure."""

from datetime import UTC, datetime

from posecluster_operator.builders.labels import INSTANCE
from posecluster_operator.explain.advice import Case, fixed_command, rollout_advice
from posecluster_operator.explain.decision import (
    Row,
    explain_reasons,
    load_line,
    objective_row,
    page,
    pods,
    title,
)
from posecluster_operator.reconcile.scaling_status import SCALE_IGNORED
from posecluster_operator.reconcile.status import OVERRIDDEN
from posecluster_operator.resource.json_access import child, condition, count, text
from posecluster_operator.resource.posecluster import PoseCluster, ScalingMode
from posecluster_operator.resource.reasons import (
    ConditionType,
    DisruptionReason,
    ProgressingReason,
    ScalingReason,
)
from posecluster_operator.scaling.policy.policy import policy_of

_ABOUT_NODES = (DisruptionReason.NODE_SILENT, DisruptionReason.NO_REPLACEMENT, DisruptionReason.MOVING_PODS)
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_QUIET = (ProgressingReason.ROLLOUT_COMPLETE, ProgressingReason.PAUSED, "")
_UNSEEN = "Check that the operator is running, holds its Lease, and watches this namespace."


def needs_operator(cluster: PoseCluster) -> bool:
    """Return whether the operator knows more about the size than the resource."""
    return not cluster.paused and cluster.spec.scaling.mode is ScalingMode.AUTO


def explain_resource(cluster: PoseCluster) -> str:
    """Return why the PoseCluster has its size, according to the resource."""
    status, policy, reason = cluster.status, policy_of(cluster), _reason(cluster)
    size, ready = count(status, "desiredReplicas"), count(status, "readyReplicas")
    case = Case(namespace=cluster.namespace, name=cluster.name, replicas=size, policy=policy, ready=ready)
    if reason is None:
        return page(f"{title(case)}: no operator has reconciled it yet", [("To do", [_UNSEEN])])
    rows, read = list[Row](), ""
    if needs_operator(cluster):
        asked = "unknown, because status.load is unset"
        if load := child(status, "load"):
            figures = (count(load, name) for name in ("queued", "running", "lateRequestsPermille"))
            asked = f"{count(load, 'requestsPerSecond')} requests/s; {load_line(*figures)}"
            asked += " (from status.load, written at most every 10 s)"
            read = f", {count(load, 'scrapedPods')} measured"
        rows += [("Load", [asked]), objective_row(policy)]
    rows.append(("Pods", [f"{size} desired, {ready} ready{read}"]))
    return explain_reasons([reason], case, rows, urgent=_urgent(cluster))


def _urgent(cluster: PoseCluster) -> tuple[str, ...]:
    """Return what to do about nodes that do not respond, which a row of `resource_rows` names."""
    safe = condition(cluster.status, ConditionType.DISRUPTION_SAFE)
    if text(safe, "reason") != DisruptionReason.NODE_SILENT:
        return ()
    return (
        "Check the nodes that do not respond. To end the routing of requests to their pods, and to replace "
        "these now, delete them with kubectl delete pod --wait=false:",
        f"kubectl -n {cluster.namespace} get pods -o wide -l {INSTANCE}={cluster.name}",
    )


def resource_rows(cluster: PoseCluster, now: datetime) -> list[Row]:
    """Return rows from the resource: the last change, why pods are not ready, and unobserved changes."""
    status, rows = cluster.status, list[Row]()
    if last := child(status, "lastScaling"):
        change = f"from {count(last, 'from')} to {count(last, 'to')}"
        why = f"{text(last, 'reason')}, {text(last, 'message')}"
        rows.append(("Last change", [f"{_when(text(last, 'time'), now)} {change}: {why}"]))
    if cluster.is_scale_ignored:
        size = cluster.spec.replicas
        command = fixed_command(cluster.namespace, cluster.name, size)
        rows.append(("Ignored", [SCALE_IGNORED, f"For a fixed size of {pods(size)}:", command]))
    progressing = condition(status, ConditionType.PROGRESSING)
    if (reason := text(progressing, "reason")) not in _QUIET:
        label = "Rollout" if text(progressing, "status") == "True" else "Stuck"
        rows.append((label, [f"{reason}: {text(progressing, 'message')}", *rollout_advice(reason, cluster)]))
    elif OVERRIDDEN in (message := text(progressing, "message")):
        rows.append(("Overridden", [OVERRIDDEN + message.partition(OVERRIDDEN)[2]]))
    safe = condition(status, ConditionType.DISRUPTION_SAFE)
    if text(safe, "reason") in _ABOUT_NODES:
        rows.append(("Nodes", [f"{text(safe, 'reason')}: {text(safe, 'message')}"]))
    if (seen := count(status, "observedGeneration")) < cluster.generation:
        rows.append(
            (
                "Spec",
                [f"not reconciled yet: generation {cluster.generation}, observed generation {seen}"],
            )
        )
    return rows


def _reason(cluster: PoseCluster) -> ScalingReason | None:
    if cluster.paused:
        return ScalingReason.PAUSED
    if cluster.spec.scaling.mode is ScalingMode.FIXED:
        return ScalingReason.FIXED_SIZE
    shown = text(condition(cluster.status, ConditionType.SCALING_ACTIVE), "reason")
    return next((reason for reason in ScalingReason if reason == shown), None)


def _when(time: str, now: datetime) -> str:
    try:
        seconds = max(0, int((now - datetime.fromisoformat(time).astimezone(UTC)).total_seconds()))
    except (ValueError, OverflowError):
        return "at an unknown time"
    unit, length = next(((unit, length) for unit, length in _UNITS if seconds >= length), _UNITS[-1])
    return f"{seconds // length} {unit} ago"
