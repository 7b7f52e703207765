"""The table of children: one row for each object that a PoseCluster may own. Pure.

Everything else about children follows from these rows: names, labels, the order of applying, RBAC rules,
watches, which objects and pods a pass reads, which fields it overwrites, and what it deletes. To add a child,
write its builder and add a row to `CHILDREN`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from posecluster_operator.builders import labels
from posecluster_operator.builders.deployment import deployment
from posecluster_operator.builders.kinds import DEPLOYMENTS, PDBS, SERVICES, Resource
from posecluster_operator.builders.labels import INFERENCE
from posecluster_operator.builders.pdb import disruption_budget
from posecluster_operator.builders.service import client_service, pods_service
from posecluster_operator.resource.posecluster import PodDefaults, PoseCluster

Ident = tuple[str, str]  # kind, name
Selector = dict[str, str]

# Every child is read by each pass and watched. The API server authorises a server-side apply as a patch, and
# also as a create when the object does not exist yet.
_VERBS = ("get", "list", "watch", "create", "patch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the children of one PoseCluster are built from.

    `replicas`: the size of the Deployment, with `extra` replacements for pods that are being moved to other
    nodes since `moving_since`. `delays_drains` and `gave_way`: see `disruption_budget`.
    `taken_over`: another client sets the size, so the Deployment is applied without `replicas`.
    `taken_back`: the operator has taken the size back in this generation, which it does once.
    """

    cluster: PoseCluster
    replicas: int
    images: PodDefaults
    version: str
    taken_over: bool = False
    taken_back: bool = False
    extra: int = 0
    moving_since: str = ""
    delays_drains: bool = False
    gave_way: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRow:
    """One child: its role in the PoseCluster, by which `Children` is read.

    `suffix`: the name is the PoseCluster's name with this suffix.
    `component`: the component label of the pods that the child runs or selects.
    `owned`: the path of the part that the operator owns completely. Additions by other clients are removed
    there and kept elsewhere, such as an annotation of the pod template (`kubectl rollout restart`).
    `build`: returns the object without apiVersion, kind, name, labels and owner, from the inputs and the
    labels that select the pods; None if this child must not exist. Raises InvalidSpec.
    `is_optional`: whether `build` may return None. The operator may then delete the child.
    """

    resource: Resource
    suffix: str
    component: str
    owned: tuple[str, ...]
    build: Callable[[Inputs, Selector], dict[str, Any] | None]
    is_optional: bool = False

    @property
    def verbs(self) -> tuple[str, ...]:
        """The RBAC verbs that the operator needs for this child."""
        return (*_VERBS, "delete") if self.is_optional else _VERBS

    def name(self, cluster: str) -> str:
        """Return the child's name; `cluster` is the PoseCluster's."""
        return f"{cluster}{self.suffix}"

    def ident(self, cluster: str) -> Ident:
        """Return the child's kind and name."""
        return self.resource.kind, self.name(cluster)

    def selector_text(self, cluster: str) -> str:
        """Return the label selector of the pods, in the form of label queries and the scale subresource."""
        return labels.selector_text(cluster, self.component)

    def manifest(self, inputs: Inputs) -> dict[str, Any] | None:
        """Return the object to apply, or None if it must not exist; raises InvalidSpec."""
        cluster = inputs.cluster
        body = self.build(inputs, labels.selector(cluster.name, self.component))
        if body is None:
            return None
        made = {"apiVersion": self.resource.api_version, "kind": self.resource.kind, "metadata": {}, **body}
        common = labels.metadata(cluster, self.name(cluster.name), inputs.version, self.component)
        return made | {"metadata": common | made["metadata"]}


def _notes(inputs: Inputs) -> dict[str, str]:
    """Return the annotations of the Deployment that record decisions for a restarted operator."""
    notes = {
        labels.SIZE_TAKEN_BACK: str(inputs.cluster.generation) if inputs.taken_back else "",
        labels.EXTRA_REPLICAS: str(inputs.extra) if inputs.extra else "",
        labels.MOVING_SINCE: inputs.moving_since,
    }
    return {key: note for key, note in notes.items() if note}


CLIENT_SERVICE = ChildRow(
    resource=SERVICES,
    suffix="-pose",
    component=INFERENCE,
    owned=("spec", "ports"),
    build=lambda inputs, selector: client_service(inputs.cluster.spec.service, selector),
)
PODS_SERVICE = ChildRow(
    resource=SERVICES,
    suffix="-pose-pods",
    component=INFERENCE,
    owned=("spec", "ports"),
    build=lambda _inputs, selector: pods_service(selector),
)
INFERENCE_DEPLOYMENT = ChildRow(
    resource=DEPLOYMENTS,
    suffix="-pose",
    component=INFERENCE,
    owned=("spec", "template", "spec"),
    build=lambda inputs, selector: deployment(
        inputs.cluster,
        selector,
        replicas=None if inputs.taken_over else inputs.replicas,
        images=inputs.images,
        notes=_notes(inputs),
    ),
)
DISRUPTION_BUDGET = ChildRow(
    resource=PDBS,
    suffix="-pose",
    component=INFERENCE,
    owned=("spec",),
    build=lambda inputs, selector: disruption_budget(
        selector,
        desired=inputs.replicas - inputs.extra,
        delays_drains=inputs.delays_drains,
        gave_way=inputs.gave_way,
    ),
    is_optional=True,
)

# In the order of applying. Services come first: their names resolve, and load balancers are set up, while the
# pods start.
CHILDREN: tuple[ChildRow, ...] = (CLIENT_SERVICE, PODS_SERVICE, INFERENCE_DEPLOYMENT, DISRUPTION_BUDGET)


def kinds() -> tuple[Resource, ...]:
    """Return the kinds of all children, each once."""
    return tuple(dict.fromkeys(row.resource for row in CHILDREN))


def idents(cluster: PoseCluster) -> dict[Ident, ChildRow]:
    """Return the row of every child that a PoseCluster may have, in the order of applying."""
    return {row.ident(cluster.name): row for row in CHILDREN}


def desired_children(inputs: Inputs) -> tuple[dict[str, Any], ...]:
    """Return all children in the order of applying; raises InvalidSpec."""
    manifests = (row.manifest(inputs) for row in CHILDREN)
    return tuple(manifest for manifest in manifests if manifest is not None)
