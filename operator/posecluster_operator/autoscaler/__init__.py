"""How many pods there should be: pure, so that it can be simulated."""

from posecluster_operator.autoscaler.autoscaler import Autoscaler, Scrape
from posecluster_operator.autoscaler.decision import decide
from posecluster_operator.autoscaler.demand import PodSample
from posecluster_operator.autoscaler.target import Routing, ServiceLevel
from posecluster_operator.autoscaler.values import Decision, Load, Numbers, Policy, Samples, State
from posecluster_operator.autoscaler.windows import WINDOWS, Windows

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
