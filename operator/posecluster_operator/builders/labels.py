"""Names, labels and owner of every child."""

from types import MappingProxyType
from typing import Any

from posecluster_operator.models import API_VERSION, GROUP, KIND, PoseCluster

MANAGER = "posecluster-operator"
COMPONENT = "inference"

NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"
MANAGED_BY = "app.kubernetes.io/managed-by"
VERSION = "app.kubernetes.io/version"
TEMPLATE_HASH = f"{GROUP}/template-hash"
# annotation of the Deployment: the PoseCluster's generation in which a silent writer lost the size to us
SIZE_TAKEN_BACK = f"{GROUP}/size-taken-back"

_FIXED = MappingProxyType({NAME: "posecluster", COMPONENT_LABEL: COMPONENT})


def child_name(name: str) -> str:
    """Name of the Deployment, the Service and the PodDisruptionBudget of PoseCluster `name`."""
    return f"{name}-pose"


def pods_service_name(name: str) -> str:
    """Name of the headless Service."""
    return f"{name}-pose-pods"


def selector(name: str) -> dict[str, str]:
    """Labels that select the pods; they can never change, because a Deployment's selector cannot."""
    return {**_FIXED, INSTANCE: name}


def selector_text(name: str) -> str:
    """`selector` as the scale subresource and label queries want it."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector(name).items()))


def pod_labels(name: str) -> dict[str, str]:
    """Labels of the pods. No version among them: a new operator alone must not replace pods."""
    return {**selector(name), MANAGED_BY: MANAGER}


def labels(name: str, version: str) -> dict[str, str]:
    """Labels of every child; `version` is the operator's."""
    return {**pod_labels(name), VERSION: version}


def owner_reference(cluster: PoseCluster) -> dict[str, Any]:
    """The reference by which the garbage collector deletes children, also with the operator gone.

    Without blockOwnerDeletion: clusters that check it would ask for a right on
    `poseclusters/finalizers` that nothing else needs.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": cluster.name,
        "uid": cluster.uid,
        "controller": True,
    }


def metadata(cluster: PoseCluster, name: str, version: str) -> dict[str, Any]:
    """Metadata of the child called `name`."""
    return {
        "name": name,
        "namespace": cluster.namespace,
        "labels": labels(cluster.name, version),
        "ownerReferences": [owner_reference(cluster)],
    }
