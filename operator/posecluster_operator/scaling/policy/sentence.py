"""Why a size was chosen, in one sentence, for Events, `status.lastScaling` and the simulation's report."""

from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy.values import Decision

_BOUNDS = {ScalingReason.AT_MAXIMUM: "maxReplicas", ScalingReason.AT_MINIMUM: "minReplicas"}


def sentence(decision: Decision) -> str:
    """Return why the size was chosen, without a full stop."""
    numbers = decision.numbers
    if decision.blind is ScalingReason.FIXED_SIZE:
        return f"spec.replicas is {decision.replicas}"
    bound = _BOUNDS.get(decision.reason)
    limit = f"spec.scaling.{bound} is {decision.replicas}"
    if numbers is None:
        return limit if bound else (decision.blind or decision.reason).message.rstrip(".")
    demand = (
        f"{numbers.requests_per_second:.1f} requests/s in {numbers.busy_seconds:.0f} s"
        f" ({numbers.refused_per_second:.1f}/s refused now) of {1000 * numbers.service_seconds:.0f} ms need"
        f" {numbers.steady_pods:.1f} pods, bursts in the last seconds need {numbers.burst_pods:.1f}"
    )
    if bound:
        return f"{demand}; {limit}"
    if decision.reason is ScalingReason.DEMAND_FELL:
        return f"{demand}; within {numbers.hold_seconds:.0f} s at most {numbers.highest_pods:.1f} were needed"
    return demand
