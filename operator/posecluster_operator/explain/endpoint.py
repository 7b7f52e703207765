"""GET /explain: why a PoseCluster has its size, from the operator's last decision, or why it has none."""

from collections.abc import Callable

from posecluster_operator.admin.health import Verdict
from posecluster_operator.explain.decision import explain
from posecluster_operator.scaling.scaler import Scaler

_STARTING = "This operator is still starting: see /readyz, and try again later."
_STANDBY = "This operator does not hold the Lease, so it sizes nothing: ask the operator that holds it."
_UNKNOWN = (
    "This operator does not size a PoseCluster of this namespace and name. It sizes those in watched"
    " namespaces, unless they are in mode Fixed, paused or invalid; see the status of the PoseCluster."
)


class Explainer:
    """Answers from the start of the process on; before `follow`, it says that the operator is starting."""

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
        if snapshot := self._scaler.snapshot(f"{namespace}/{name}"):
            return Verdict(True, explain(namespace, name, snapshot).rstrip("\n"))
        return Verdict(False, _UNKNOWN)
