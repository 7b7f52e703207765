"""Names, labels and owner references of children."""

from typing import Any

from posecluster_operator.resource.posecluster import API_VERSION, GROUP, KIND, PoseCluster

MANAGER = "posecluster-operator"
INFERENCE = "inference"  # the component whose pods process pictures

NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"
MANAGED_BY = "app.kubernetes.io/managed-by"
VERSION = "app.kubernetes.io/version"
TEMPLATE_HASH = f"{GROUP}/template-hash"
# Annotation of the Deployment: the PoseCluster's generation in which the operator took the size back.
SIZE_TAKEN_BACK = f"{GROUP}/size-taken-back"
# Annotations of the Deployment while pods are moved to other nodes: by how many pods its size exceeds the
# desired size, and when moving them began.
EXTRA_REPLICAS = f"{GROUP}/extra-replicas"
MOVING_SINCE = f"{GROUP}/moving-since"


def selector(name: str, component: str = INFERENCE) -> dict[str, str]:
    """Labels that select a component's pods. They must never change: a Deployment's selector is immutable."""
    return {NAME: "posecluster", COMPONENT: component, INSTANCE: name}


def selector_text(name: str, component: str = INFERENCE) -> str:
    """`selector` in the form of label queries and the scale subresource."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector(name, component).items()))


def managed(selector: dict[str, str]) -> dict[str, str]:
    """Labels of a selector's pods. They contain no version: a new operator must not replace pods."""
    return {**selector, MANAGED_BY: MANAGER}


def pod_labels(name: str, component: str = INFERENCE) -> dict[str, str]:
    """Labels of a component's pods."""
    return managed(selector(name, component))


def labels(name: str, version: str, component: str = INFERENCE) -> dict[str, str]:
    """Labels of every child; `version` is the operator's."""
    return {**pod_labels(name, component), VERSION: version}


def owner_reference(cluster: PoseCluster) -> dict[str, Any]:
    """Return the owner reference, by which the garbage collector deletes children without the operator.

    blockOwnerDeletion is unset, because some clusters require a permission on `poseclusters/finalizers` for
    it, which the operator does not need otherwise.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": cluster.name,
        "uid": cluster.uid,
        "controller": True,
    }


def metadata(cluster: PoseCluster, name: str, version: str, component: str) -> dict[str, Any]:
    """Metadata of the child called `name`."""
    return {
        "name": name,
        "namespace": cluster.namespace,
        "labels": labels(cluster.name, version, component),
        "ownerReferences": [owner_reference(cluster)],
    }
