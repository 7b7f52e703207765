"""What the port says of a PoseCluster's size: the operator's live knowledge, or why it has none."""

from collections.abc import Callable

from posecluster_operator.autoscaler.explanation import explain
from posecluster_operator.health import Verdict
from posecluster_operator.scaler import Scaler

_STARTING = "This operator is still starting: see /readyz, and ask again."
_STANDBY = "This operator does not hold the Lease, so it sizes nothing: ask the one that does."
_UNKNOWN = (
    "This operator sizes no PoseCluster of this namespace and name: is there one, in a namespace that is"
    " watched? One that is Fixed, paused or invalid is not sized; what its status says is all."
)


class Explainer:
    """Is asked by the port from its first moment on; `follow` gives it what there is to know."""

    def __init__(self) -> None:
        self._scaler: Scaler | None = None
        self._held: Callable[[], bool] = lambda: False

    def follow(self, scaler: Scaler, *, held: Callable[[], bool]) -> None:
        """Answer with what this scaler knows, while the Lease is held."""
        self._scaler, self._held = scaler, held

    def explain(self, namespace: str, name: str) -> Verdict:
        """Return the explanation, or why there is none and what to do."""
        if self._scaler is None:
            return Verdict(False, _STARTING)
        if not self._held():
            return Verdict(False, _STANDBY)
        known = self._scaler.known(f"{namespace}/{name}")
        if known is None:
            return Verdict(False, _UNKNOWN)
        return Verdict(True, explain(namespace, name, known).rstrip("\n"))
