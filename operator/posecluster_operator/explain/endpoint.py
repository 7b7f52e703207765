"""GET /explain: why a PoseCluster has its size, from the operator's last decision."""

from collections.abc import Callable

from posecluster_operator.admin.health import Reply
from posecluster_operator.explain.decision import explain
from posecluster_operator.scaling.scaler import Scaler

_STARTING = "This operator is still starting: check /readyz, and try again later."
_STANDBY = (
    "This operator does not hold the Lease and makes no scaling decisions: ask the operator that holds it."
)
_UNKNOWN = (
    "This operator does not scale a PoseCluster of this namespace and name. It scales PoseClusters in watched"
    " namespaces, unless their mode is Fixed, or they are paused or invalid: see the PoseCluster's status."
)


class Explainer:
    """Source of explanations for the admin port. Before `follow`, the operator counts as starting."""

    def __init__(self) -> None:
        self._scaler: Scaler | None = None
        self._held: Callable[[], bool] = lambda: False

    def follow(self, scaler: Scaler, *, held: Callable[[], bool]) -> None:
        """Explain the decisions of this scaler while the Lease is held."""
        self._scaler, self._held = scaler, held

    def explain(self, namespace: str, name: str) -> Reply:
        """Return the explanation; or, with `ok` false, why it is unavailable and what to do."""
        if self._scaler is None:
            return Reply(False, _STARTING)
        if not self._held():
            return Reply(False, _STANDBY)
        if snapshot := self._scaler.snapshot(f"{namespace}/{name}"):
            return Reply(True, explain(namespace, name, snapshot).rstrip("\n"))
        return Reply(False, _UNKNOWN)
