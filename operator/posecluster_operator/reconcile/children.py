"""The observed children of a PoseCluster, and their owners."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from posecluster_operator.builders import labels
from posecluster_operator.builders.table import ChildRow, Ident, idents
from posecluster_operator.errors import Retryable
from posecluster_operator.kube.client import Kube
from posecluster_operator.kube.kinds import PODS
from posecluster_operator.reconcile.repairs import Repairs
from posecluster_operator.reconcile.rollout_diagnosis import Failure
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.posecluster import GROUP, KIND, PoseCluster
from posecluster_operator.resource.reasons import ProgressingReason

# With back-offs about 90 s. Then the version is accepted, as the cluster was restored from a back-up.
_STALE_READS = 8


@dataclass(frozen=True, slots=True)
class Children:
    """The children and pods that a pass has read, by the rows of `builders.table`.

    `live`: each object that has a child's kind and name, or None. `pods`: by component.
    """

    cluster: PoseCluster
    live: Mapping[Ident, Json | None]
    pods: Mapping[str, Sequence[Json]]

    def __getitem__(self, row: ChildRow) -> Json | None:
        """Return the child, or None if it does not exist or is an unmanaged object."""
        body = self.live[row.ident(self.cluster.name)]
        return body if body is not None and is_own(self.cluster, body) else None

    def pods_of(self, row: ChildRow) -> Sequence[Json]:
        """Return the pods that this child runs or selects."""
        return self.pods[row.component]


@dataclass(frozen=True, slots=True)
class LastApply:
    """What was applied to a child last.

    `intent`: hash of the manifest without the size, or empty if the child must not exist. `size`: the number
    of pods, if the manifest sets it. `fingerprint`: of the API server's response.
    """

    intent: str
    size: int | None
    fingerprint: str


@dataclass(slots=True)
class Carryover:
    """State from one pass to the next, to avoid writes and to detect stale reads and forged status.

    After a restart it is empty, which causes one apply per child that changes nothing.
    """

    applied: dict[Ident, LastApply] = field(default_factory=dict)
    repairs: dict[Ident, Repairs] = field(default_factory=dict)
    applied_generation: int = 0  # the last one that was applied completely
    newest: dict[Ident, int] = field(default_factory=dict)
    stale_reads: dict[Ident, int] = field(default_factory=dict)
    uid: str = ""  # of the PoseCluster; it may be deleted and created again
    # Copies of values in the status, which other clients cannot change.
    desired: int | None = None
    last_scaling: Json | None = None
    rolled_out: int = 0  # the generation that was rolled out last
    scaling_told: str = ""  # the reason in the last Event about ScalingActive

    def check_fresh(self, body: Json) -> None:
        """Raise Retryable if a newer version of this object has been read before."""
        ident = (body.get("kind", KIND), body["metadata"]["name"])
        version = body["metadata"]["resourceVersion"]
        if not version.isdigit():  # versions are opaque, and can be compared only if they are numbers
            return
        stale = self.stale_reads.get(ident, 0)
        if int(version) < self.newest.get(ident, 0) and stale < _STALE_READS:
            self.stale_reads[ident] = stale + 1
            raise Retryable(f"get {'/'.join(ident)}", "the API server returned an older version than before")
        self.stale_reads[ident] = 0
        self.newest[ident] = int(version)

    def note_size(self, replicas: int, last_scaling: Json | None = None) -> None:
        """Note the size that was applied, and `status.lastScaling` if it was a step up or down."""
        self.desired = replicas
        self.last_scaling = last_scaling or self.last_scaling

    def note_rollout(self, generation: int) -> None:
        """Note the generation that the status shows as rolled out; 0 if it shows none."""
        self.rolled_out = generation or self.rolled_out

    def note_scaling_event(self, reason: str) -> None:
        """Note the reason of an Event about ScalingActive."""
        self.scaling_told = reason


async def read_children(kube: Kube, cluster: PoseCluster, carryover: Carryover) -> Children:
    """Read all children and their pods now; raises KubeError.

    The calls are sequential: a pass takes a few milliseconds longer, and an overloaded API server gets one
    call at a time.
    """
    rows = idents(cluster)
    live: dict[Ident, Json | None] = {}
    for ident, row in rows.items():
        live[ident] = body = await kube.find(row.resource, cluster.namespace, ident[1])
        if body is not None:
            carryover.check_fresh(body)
    selectors = {row.component: row.selector_text(cluster.name) for row in rows.values()}
    pods = {
        component: await kube.list(PODS, cluster.namespace, labels=selector)
        for component, selector in selectors.items()
    }
    return Children(cluster, live, pods)


def blocked_by(cluster: PoseCluster, live: Mapping[Ident, Json | None]) -> Failure | None:
    """Return why nothing may be applied: a name is taken, or still used by a deleted PoseCluster. Pure."""
    waiting = None
    for (kind, name), body in live.items():
        if body is None:
            continue
        if is_own(cluster, body) and not body["metadata"].get("deletionTimestamp"):
            continue
        owner = _controller(body)
        namesake = (
            owner.get("kind") == KIND
            and str(owner.get("apiVersion", "")).startswith(f"{GROUP}/")
            and owner.get("name") == cluster.name
        )
        if not namesake:
            return Failure(
                ProgressingReason.NAME_TAKEN,
                f"{kind} {name} exists and does not belong to this PoseCluster, so the operator leaves it "
                "unchanged: delete it, or create the PoseCluster under another name.",
            )
        waiting = Failure(
            ProgressingReason.ROLLING_OUT, f"Waiting until the deletion of {kind} {name} is complete."
        )
    return waiting


def is_own(cluster: PoseCluster, body: Json) -> bool:
    """Return whether this PoseCluster owns the child, or the operator applied it and it has no owner.

    A child has no owner after its owner references were removed manually, and after a deletion with
    `--cascade=orphan`. `managedFields` prove that the operator applied it; any client can write labels.
    """
    metadata = body["metadata"]
    owners = metadata.get("ownerReferences") or ()
    if any(owner.get("uid") == cluster.uid for owner in owners):
        return _controller(body).get("uid") in (None, cluster.uid)
    instance = (metadata.get("labels") or {}).get(labels.INSTANCE)
    return not owners and instance == cluster.name and bool(applied_by_us(body))


def applied_by_us(body: Json) -> Json:
    """Return the fields that our applies own, as `fieldsV1`, or an empty object."""
    for entry in body["metadata"].get("managedFields") or ():
        if (entry.get("manager"), entry.get("operation")) == (labels.MANAGER, "Apply"):
            return entry.get("fieldsV1") or {}
    return {}


def _controller(body: Json) -> Json:
    owners = body["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), {})
