"""Condition types and their reasons: closed sets; each value's text is its line in docs/reference.md."""

from enum import StrEnum
from types import MappingProxyType
from typing import Self


class _Documented(StrEnum):
    """A value with a meaning for people."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    @property
    def message(self) -> str:
        """The condition's text: the meaning as a sentence."""
        text = self.meaning.partition(": ")[2].replace("`", "")
        return f"{text[0].upper()}{text[1:]}."


class ConditionType(_Documented):
    """The conditions of a PoseCluster. kstatus, and so Flux and Helm, read the first and the last two."""

    READY = (
        "Ready",
        "the current generation is rolled out and at least one pod is ready; while it is False, `reason` and "
        "`message` are those of `Progressing`",
    )
    AVAILABLE = "Available", "at least one ready pod answers requests"
    PROGRESSING = "Progressing", "True: the pods are as the spec says, or on their way; False: stuck, and why"
    SCALING_ACTIVE = "ScalingActive", "the size follows from measured load"
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
    SCALED_TO_ZERO = "ScaledToZero", "True: no pod is wanted, and none is left, because `spec.replicas` is 0"
    # the default in the CRD
    WAITING_FOR_OPERATOR = "WaitingForOperator", "Unknown: no operator has processed this PoseCluster yet"


class AvailableReason(_Documented):
    """Why `Available` is what it is."""

    PODS_READY = "PodsReady", "True: at least one pod is ready"
    NO_READY_PODS = "NoReadyPods", "False: no pod is ready; `Progressing` says why, if it is known"
    SCALED_TO_ZERO = "ScaledToZero", "False: `spec.replicas` is 0"


class ProgressingReason(_Documented):
    """Why `Progressing` is what it is. Names that Kubernetes uses for the same fact are Kubernetes'."""

    ROLLOUT_COMPLETE = "RolloutComplete", "True: every pod that is wanted is ready and of this spec"
    ROLLING_OUT = "RollingOut", "True: pods are being started or replaced"
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff", "False: the image cannot be pulled, or its name is wrong"
    CRASH_LOOP_BACK_OFF = "CrashLoopBackOff", "False: the container ends soon after each start"
    CREATE_CONTAINER_ERROR = (
        "CreateContainerError",
        "False: the container or a volume cannot be set up; a missing Secret, for instance",
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
        "False: a child's name is held by an object that is not this PoseCluster's; it is not touched",
    )
    INVALID_SPEC = "InvalidSpec", "False: the spec cannot be acted on; the pods stay as they were"
    APPLY_REJECTED = (
        "ApplyRejected",
        "False: the API server, or an admission webhook, refused a child; tried again",
    )
    FORBIDDEN = "Forbidden", "False: the operator lacks a right that it had; tried again"
    PAUSED = "Paused", 'False: the annotation `posecluster.io/paused` is "true"; nothing is changed'


class ScalingReason(_Documented):
    """Why the size is what it is: `ScalingActive`'s reason, and a size change's."""

    STEADY = "Steady", "True: the load wants the present size"
    DEMAND_ROSE = "DemandRose", "True: raised, the rate of the last seconds wants more pods"
    BURST = "Burst", "True: raised, a burst of the last seconds wants more pods than the mean rate does"
    DEMAND_FELL = "DemandFell", "True: lowered, nothing within the hold window wanted as many pods"
    HOLDING_AFTER_BURST = (
        "HoldingAfterBurst",
        "True: fewer pods would do now, but more were wanted within the hold window",
    )
    JUST_STARTED = (
        "JustStarted",
        "True: the load is not known for a whole hold window yet, so the size is not lowered",
    )
    WAITING_FOR_PODS = "WaitingForPods", "True: enough pods are ordered, and some are not ready yet"
    AT_MAXIMUM = "AtMaximum", "True: the load wants more pods than `spec.scaling.maxReplicas`"
    AT_MINIMUM = "AtMinimum", "True: the load wants fewer pods than `spec.scaling.minReplicas`"
    NO_METRICS = "NoMetrics", "False: no pod's load can be read; the size is held"
    PARTIAL_METRICS = (
        "PartialMetrics",
        "False: some ready pods' load cannot be read; the size is not lowered",
    )
    REPLICAS_TAKEN_OVER = (
        "ReplicasTakenOver",
        "False: somebody else, an HPA for instance, set the Deployment's size. The operator takes it back "
        "once they have written nothing for 10 minutes, unless they then set it again; to hand the size back "
        "yourself, remove the other writer, then change the spec, or pause and resume",
    )
    FIXED_SIZE = "FixedSize", "False: the size is `spec.replicas`, because `spec.scaling.mode` is `Fixed`"
    PAUSED = "Paused", 'False: the size is held, because the annotation `posecluster.io/paused` is "true"'

    @property
    def is_active(self) -> bool:
        """The status of the condition with this reason."""
        return self.meaning.startswith("True")


Reason = ReadyReason | AvailableReason | ProgressingReason | ScalingReason

# a condition's own reasons; Ready, Reconciling and Stalled also repeat those of Progressing
REASONS = MappingProxyType(
    {
        ConditionType.READY: ReadyReason,
        ConditionType.AVAILABLE: AvailableReason,
        ConditionType.PROGRESSING: ProgressingReason,
        ConditionType.SCALING_ACTIVE: ScalingReason,
    }
)
