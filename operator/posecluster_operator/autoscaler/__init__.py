"""How many pods there should be: pure, so that it can be simulated."""

from posecluster_operator.autoscaler.decision import decide
from posecluster_operator.autoscaler.demand import PodSample
from posecluster_operator.autoscaler.target import Objective, Routing
from posecluster_operator.autoscaler.values import Decision, Load, Numbers, Policy, Samples, State

__all__ = [
    "Decision",
    "Load",
    "Numbers",
    "Objective",
    "PodSample",
    "Policy",
    "Routing",
    "Samples",
    "State",
    "decide",
]
