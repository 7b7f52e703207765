"""How many pods there should be: pure, so that it can be simulated."""

from posecluster_operator.autoscaler.decision import NOTHING, Decision, Samples, State, decide

__all__ = ["NOTHING", "Decision", "Samples", "State", "decide"]
