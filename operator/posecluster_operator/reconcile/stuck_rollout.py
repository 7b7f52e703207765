"""Ready pods while a rollout is stuck: moves pods from the ReplicaSet that fails to the one that serves.

While several ReplicaSets have pods, the Deployment controller distributes a new size over them in proportion
to their sizes (`scale` in its sync.go), so a stuck rollout receives a share of every scale-up. Their total
stays the Deployment's size and surge here, so the controller has no reason to undo the move, and a rollout
that heals continues as usual.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from posecluster_operator.builders.table import INFERENCE_DEPLOYMENT
from posecluster_operator.kube.client import Kube
from posecluster_operator.kube.kinds import REPLICA_SETS
from posecluster_operator.reconcile.children import Children
from posecluster_operator.reconcile.rollout_diagnosis import find_failure, judges_current_spec
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, children, count, text
from posecluster_operator.resource.notice import Notice
from posecluster_operator.resource.posecluster import PoseCluster

logger = logging.getLogger(__name__)

_PREFIX = "deployment.kubernetes.io/"  # annotations of the Deployment controller
_REVISION, _DESIRED, _MAXIMUM = f"{_PREFIX}revision", f"{_PREFIX}desired-replicas", f"{_PREFIX}max-replicas"


@dataclass(frozen=True, slots=True)
class Resize:
    """A new size of a ReplicaSet, valid only for the version that was read."""

    name: str
    version: str
    before: int
    after: int


def resizes(deployment: Json, replica_sets: Sequence[Json]) -> tuple[Resize, ...]:
    """Return the new sizes of ReplicaSets while the rollout of the Deployment is stuck, in order.

    The ReplicaSet with the most available pods of an earlier template grows by what is missing: the desired
    pods without `maxUnavailable`, its own pods, and the available pods of the others. The others then shrink
    by pods that are not available, until the total is the size and surge again; the newest keeps one of them,
    which shows when the rollout heals. The result is empty until the controller has distributed the
    Deployment's size. Sizes are compared, not ready pods, so pods that a quota or full nodes hold up are
    ordered once.
    """
    size = count(child(deployment, "spec"), "replicas")
    revision = _annotation(deployment, _REVISION)
    uid = text(child(deployment, "metadata"), "uid")
    active = [one for one in replica_sets if _is_owned(one, uid) and _size(one)]
    newest = [one for one in active if _annotation(one, _REVISION) == revision]
    earlier = [one for one in active if one not in newest and _available(one)]
    distributed = all(_annotation(one, _DESIRED) == str(size) for one in active)
    if not judges_current_spec(deployment) or not distributed or not newest or not earlier:
        return ()
    serving = max(earlier, key=lambda one: (_available(one), _size(one)))
    others = [one for one in active if one is not serving]
    rolling = child(deployment, "spec", "strategy", "rollingUpdate")
    least = size - count(rolling, "maxUnavailable")
    missing = max(0, least - _size(serving) - sum(map(_available, others)))
    found = [_resize(serving, _size(serving) + missing)] if missing else []
    maximum = _annotation(newest[0], _MAXIMUM)
    excess = sum(map(_size, active)) + missing - int(maximum) if maximum.isdecimal() else 0
    for one in sorted(others, key=lambda one: one in newest):  # the newest last
        unavailable = _size(one) - _available(one) - (one in newest)
        removed = min(max(0, excess), max(0, unavailable))
        excess -= removed
        if removed:
            found.append(_resize(one, _size(one) - removed))
    return tuple(found)


async def keep_ready(kube: Kube, cluster: PoseCluster, children: Children) -> Notice | None:
    """Move pods of a stuck rollout to the ReplicaSet that serves; return the Event for it, or None.

    Raises KubeError; Conflict if a ReplicaSet has changed since it was read.
    """
    deployment, pods = children[INFERENCE_DEPLOYMENT], children.pods_of(INFERENCE_DEPLOYMENT)
    secret = cluster.spec.auth.token_secret_name
    if deployment is None or not find_failure(deployment, pods, token_secret=secret):
        return None
    namespace, selector = cluster.namespace, INFERENCE_DEPLOYMENT.selector_text(cluster.name)
    found = resizes(deployment, await kube.list(REPLICA_SETS, namespace, labels=selector))
    for one in found:
        patch = {"metadata": {"resourceVersion": one.version}, "spec": {"replicas": one.after}}
        await kube.patch(REPLICA_SETS, namespace, one.name, patch, subresource="scale")
        fields = {"namespace": namespace, "name": one.name, "from": one.before, "to": one.after}
        logger.info("Resized a ReplicaSet of a stuck rollout", extra={"fields": fields})
    if not found:
        return None
    sizes = ", ".join(f"{one.name} from {one.before} to {one.after}" for one in found)
    return Notice(
        "Normal", "StuckRolloutResized", f"The rollout is stuck, so earlier pods replace its pods: {sizes}"
    )


def _resize(replica_set: Json, after: int) -> Resize:
    metadata = child(replica_set, "metadata")
    return Resize(text(metadata, "name"), text(metadata, "resourceVersion"), _size(replica_set), after)


def _is_owned(replica_set: Json, uid: str) -> bool:
    owners = children(child(replica_set, "metadata"), "ownerReferences")
    return any(owner.get("controller") is True and text(owner, "uid") == uid for owner in owners)


def _annotation(body: Json, name: str) -> str:
    return text(child(body, "metadata", "annotations"), name)


def _size(replica_set: Json) -> int:
    return count(child(replica_set, "spec"), "replicas")


def _available(replica_set: Json) -> int:
    return min(_size(replica_set), count(child(replica_set, "status"), "availableReplicas"))
