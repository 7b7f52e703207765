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


class ConditionType(_Documented):
    """The three conditions of every PoseCluster."""

    AVAILABLE = "Available", "at least one ready pod answers requests"
    PROGRESSING = "Progressing", "True: the pods are as the spec says, or on their way; False: stuck, and why"
    SCALING_ACTIVE = "ScalingActive", "the size follows from measured load"


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
    """Why `ScalingActive` is what it is."""

    FIXED_SIZE = "FixedSize", "False: `spec.scaling.mode` is `Fixed`; the size is `spec.replicas`"
    NO_METRICS = "NoMetrics", "False: no pod's load can be read; the size is held"
    PAUSED = "Paused", 'False: the annotation `posecluster.io/paused` is "true"; the size is held'


Reason = AvailableReason | ProgressingReason | ScalingReason

REASONS = MappingProxyType(
    {
        ConditionType.AVAILABLE: AvailableReason,
        ConditionType.PROGRESSING: ProgressingReason,
        ConditionType.SCALING_ACTIVE: ScalingReason,
    }
)
