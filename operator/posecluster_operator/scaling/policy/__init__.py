"""The autoscaling policy. Pure, so that it can be simulated."""

from posecluster_operator.scaling.policy.autoscaler import Autoscaler, Scrape
from posecluster_operator.scaling.policy.decision import decide
from posecluster_operator.scaling.policy.demand import PodSample
from posecluster_operator.scaling.policy.target import Routing, ServiceLevel
from posecluster_operator.scaling.policy.values import Decision, Load, Numbers, Policy, Samples, State
from posecluster_operator.scaling.policy.windows import WINDOWS, Windows

__all__ = [
    "WINDOWS",
    "Autoscaler",
    "Decision",
    "Load",
    "Numbers",
    "PodSample",
    "Policy",
    "Routing",
    "Samples",
    "Scrape",
    "ServiceLevel",
    "State",
    "Windows",
    "decide",
]
