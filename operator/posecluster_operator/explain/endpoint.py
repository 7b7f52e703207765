"""GET /explain: why a PoseCluster has its size, from the operator's last decision."""

from collections.abc import Callable

from posecluster_operator.admin.health import Reply
from posecluster_operator.admin.namespaces import Namespaces
from posecluster_operator.explain.decision import explain
from posecluster_operator.scaling.scaler import Scaler

_STARTING = "This operator is still starting: check /readyz, and try again later."
_STANDBY = (
    "This operator does not hold the Lease and makes no scaling decisions: ask the operator that holds it."
)
_DENIED = (
    "This operator does not watch the namespace, because the API server denies reads in it: restore the"
    " namespace, or the operator's Role and RoleBinding in it."
)
_UNKNOWN = (
    "This operator does not scale a PoseCluster of this namespace and name. It scales PoseClusters in watched"
    " namespaces, unless their mode is Fixed, or they are paused or invalid: see the PoseCluster's status."
)


class Explainer:
    """Source of explanations for the admin port. Before `follow`, the operator counts as starting."""

    def __init__(self) -> None:
        self._scaler: Scaler | None = None
        self._namespaces = Namespaces()
        self._held: Callable[[], bool] = lambda: False

    def follow(self, scaler: Scaler, *, namespaces: Namespaces, held: Callable[[], bool]) -> None:
        """Explain the decisions of this scaler while the Lease is held."""
        self._scaler, self._namespaces, self._held = scaler, namespaces, held

    def explain(self, namespace: str, name: str) -> Reply:
        """Return the explanation; or, with `ok` false, why it is unavailable and what to do."""
        if self._scaler is None:
            return Reply(False, _STARTING)
        if not self._held():
            return Reply(False, _STANDBY)
        key = f"{namespace}/{name}"
        if snapshot := self._scaler.snapshot(key):
            return Reply(True, explain(namespace, name, snapshot).rstrip("\n"))
        return Reply(False, _DENIED if self._namespaces.of(key) in self._namespaces.denied else _UNKNOWN)
