"""All kinds that the operator uses, besides those of children in `builders.kinds`."""

from types import MappingProxyType

from posecluster_operator.builders.kinds import Resource
from posecluster_operator.builders.table import kinds
from posecluster_operator.resource.posecluster import GROUP, KIND, PLURAL, VERSION

POSECLUSTERS = Resource(GROUP, VERSION, PLURAL, KIND)
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
PODS = Resource("", "v1", "pods", "Pod")
NODES = Resource("", "v1", "nodes", "Node")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview")

# the kinds of children
BY_KIND = MappingProxyType({(resource.api_version, resource.kind): resource for resource in kinds()})


def describe(
    verb: str,
    resource: Resource,
    namespace: str | None,
    name: str | None = None,
    subresource: str | None = None,
) -> str:
    """Return verb and object as text: `patch poseclusters.posecluster.io/status ns/name`."""
    kind = f"{resource.full_name}/{subresource}" if subresource else resource.full_name
    return " ".join([verb, kind, "/".join(part for part in (namespace, name) if part)]).strip()
