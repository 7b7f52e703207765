"""Condition types and their reasons. Both are closed sets; docs/reference.md shows each meaning."""

from enum import StrEnum
from types import MappingProxyType
from typing import Self


class _Documented(StrEnum):
    """An enum value with its meaning for users."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    @property
    def message(self) -> str:
        """The meaning as a sentence, for the condition's message."""
        text = self.meaning.partition(": ")[2].replace("`", "")
        return f"{text[0].upper()}{text[1:]}."


class ConditionType(_Documented):
    """The conditions of a PoseCluster. kstatus, and so Flux and Helm, reads the first and the last two."""

    READY = (
        "Ready",
        "the current generation is rolled out and at least one pod is ready; while it is False, `reason` and "
        "`message` are those of `Progressing`",
    )
    AVAILABLE = "Available", "at least one ready pod answers requests"
    PROGRESSING = (
        "Progressing",
        "True: the pods match the spec, or a rollout is making progress; "
        "False: the rollout is stuck, and `reason` says why",
    )
    SCALING_ACTIVE = "ScalingActive", "the number of pods follows the measured load"
    DISRUPTION_SAFE = (
        "DisruptionSafe",
        "draining one node interrupts no requests, and no node with pods of this PoseCluster has stopped "
        "responding; it does not affect `Ready`",
    )
    RECONCILING = (
        "Reconciling",
        "present, and True, only while `Ready` is False and the rollout is under way; `reason` and `message` "
        "are those of `Progressing`",
    )
    STALLED = (
        "Stalled",
        "present, and True, only while `Ready` is False and the rollout cannot proceed: the operator cannot "
        "act on the spec, or the pods made no progress for 45 seconds; `reason` and `message` are those of "
        "`Progressing`",
    )


class ReadyReason(_Documented):
    """Why `Ready` is True or Unknown; while it is False, its reason is a `ProgressingReason`."""

    ROLLED_OUT = "RolledOut", "True: the current generation is rolled out, and at least one pod is ready"
    SCALED_TO_ZERO = "ScaledToZero", "True: no pod is desired, and none is left, because `spec.replicas` is 0"
    # the default value in the CRD
    WAITING_FOR_OPERATOR = "WaitingForOperator", "Unknown: no operator has processed this PoseCluster yet"


class AvailableReason(_Documented):
    """Why `Available` is True or False."""

    PODS_READY = "PodsReady", "True: at least one pod is ready"
    NO_READY_PODS = "NoReadyPods", "False: no pod is ready; `Progressing` says why, if it is known"
    SCALED_TO_ZERO = "ScaledToZero", "False: `spec.replicas` is 0"


class ProgressingReason(_Documented):
    """Why `Progressing` is True or False. Where Kubernetes has a name for the same fact, it is used."""

    ROLLOUT_COMPLETE = "RolloutComplete", "True: all desired pods are ready and match the spec"
    ROLLING_OUT = "RollingOut", "True: pods are being started or replaced"
    ROLLOUT_QUEUED = (
        "RolloutQueued",
        "True: the operator's settings or version require new pods, and the rollout waits until fewer others "
        "are under way; a change of the spec is never delayed",
    )
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff", "False: the image cannot be pulled, or its name is wrong"
    CRASH_LOOP_BACK_OFF = "CrashLoopBackOff", "False: the container ends soon after each start"
    CREATE_CONTAINER_ERROR = (
        "CreateContainerError",
        "False: the container or a volume cannot be set up, for example because a Secret is missing",
    )
    UNSCHEDULABLE = "Unschedulable", "False: no node has room for a pod, or none may run it"
    FAILED_CREATE = (
        "FailedCreate",
        "False: pods are refused by a quota, a limit range, pod security or admission",
    )
    PROGRESS_DEADLINE_EXCEEDED = (
        "ProgressDeadlineExceeded",
        "False: pods run, but do not become ready in time",
    )
    NAME_TAKEN = (
        "NameTaken",
        "False: an unmanaged object has the name of a child; the operator leaves it unchanged",
    )
    INVALID_SPEC = "InvalidSpec", "False: the operator cannot act on the spec; the pods stay unchanged"
    APPLY_REJECTED = (
        "ApplyRejected",
        "False: the API server, or an admission webhook, refused a child; the operator retries",
    )
    CONTESTED = (
        "Contested",
        "False: another client keeps changing or deleting a child, so the operator restores it only after "
        "some minutes; a change of the spec is applied at once",
    )
    FORBIDDEN = "Forbidden", "False: the operator lacks a permission that it needs; it retries"
    PAUSED = "Paused", 'False: the annotation `posecluster.io/paused` is "true"; nothing is changed'


class ScalingReason(_Documented):
    """Why the PoseCluster has its size: the reason of `ScalingActive`, and of each change of size."""

    STEADY = "Steady", "True: the present number of pods matches the load"
    DEMAND_ROSE = (
        "DemandRose",
        "True: the size was raised, because the rate of the last seconds needs more pods",
    )
    BURST = (
        "Burst",
        "True: the size was raised, because a burst in the last seconds needs more pods than the mean rate",
    )
    DEMAND_FELL = (
        "DemandFell",
        "True: the size was lowered, because fewer pods were enough during the whole hold window",
    )
    HOLDING_AFTER_BURST = (
        "HoldingAfterBurst",
        "True: fewer pods are enough now, but more were needed within the hold window",
    )
    JUST_STARTED = (
        "JustStarted",
        "True: the load has not been observed for a whole hold window yet, so the size is not lowered",
    )
    WAITING_FOR_PODS = "WaitingForPods", "True: enough pods are ordered, and some are not ready yet"
    AT_MAXIMUM = "AtMaximum", "True: the load needs more pods than `spec.scaling.maxReplicas`"
    AT_MINIMUM = "AtMinimum", "True: the load needs fewer pods than `spec.scaling.minReplicas`"
    NO_METRICS = "NoMetrics", "False: no pod's load can be read; the size is held"
    PARTIAL_METRICS = (
        "PartialMetrics",
        "False: some ready pods' load cannot be read; the size is not lowered",
    )
    REPLICAS_TAKEN_OVER = (
        "ReplicasTakenOver",
        "False: another client, for example an HPA, set the Deployment's size. The operator takes the size "
        "back once that client has written nothing for 10 minutes, unless it then sets it again; to hand "
        "it back yourself, remove the other writer, then change the spec, or pause and resume",
    )
    FIXED_SIZE = "FixedSize", "False: the size is `spec.replicas`, because `spec.scaling.mode` is `Fixed`"
    PAUSED = "Paused", 'False: the size is held, because the annotation `posecluster.io/paused` is "true"'

    @property
    def is_active(self) -> bool:
        """The status of the condition with this reason."""
        return self.meaning.startswith("True")


class DisruptionReason(_Documented):
    """Why `DisruptionSafe` is True or False."""

    PROTECTED = "Protected", "True: evictions are limited, so that a drain leaves a pod that is ready"
    MOVING_PODS = "MovingPods", "True: replacements are being started for pods on a cordoned node"
    SINGLE_REPLICA = (
        "SingleReplica",
        "False: there is one pod, so draining its node interrupts requests until its replacement is ready. "
        "To avoid this, set `spec.scaling.minReplicas` (in mode Fixed: `spec.replicas`) to 2, or let the "
        "operator list nodes (chart value `operator.watchNodes`)",
    )
    NO_REPLACEMENT = (
        "NoReplacement",
        "False: replacements for pods on a cordoned node did not become ready within 5 minutes, so a drain "
        "is no longer delayed",
    )
    NODE_SILENT = "NodeSilent", "False: the pods on a node do not respond; the message names node and pods"

    @property
    def is_safe(self) -> bool:
        """The status of the condition with this reason."""
        return self.meaning.startswith("True")


Reason = ReadyReason | AvailableReason | ProgressingReason | ScalingReason | DisruptionReason
ConditionValue = tuple[bool, Reason, str]  # whether the condition is True, its reason, its message

# Ready, Reconciling and Stalled also repeat the reasons of Progressing.
REASONS = MappingProxyType(
    {
        ConditionType.READY: ReadyReason,
        ConditionType.AVAILABLE: AvailableReason,
        ConditionType.PROGRESSING: ProgressingReason,
        ConditionType.SCALING_ACTIVE: ScalingReason,
        ConditionType.DISRUPTION_SAFE: DisruptionReason,
    }
)
