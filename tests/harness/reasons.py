"""The reasons that a condition may have."""

from posecluster_operator.resource.reasons import REASONS, ConditionType

_OF_PROGRESSING = {ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED}


def allowed_reasons(kind: str) -> set[str]:
    """Return the closed set of a condition's reasons; StopIteration if there is no such condition."""
    condition = next(one for one in ConditionType if one == kind)
    sources = [condition, ConditionType.PROGRESSING] if condition in _OF_PROGRESSING else [condition]
    return {str(reason) for source in sources for reason in REASONS.get(source, ())}
