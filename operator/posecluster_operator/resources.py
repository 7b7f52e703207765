"""The kinds that the operator talks to, and their paths: a table, nothing else."""

from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote

from posecluster_operator.models import GROUP, KIND, PLURAL, VERSION


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as the API server names it; the core group is the empty text."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """`apps/v1`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """`deployments.apps`, as in the API server's messages and in kubectl."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL's path; without a namespace: all of them, or a kind that has none."""
        parts = ["apis" if self.group else "api", self.api_version]
        if namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        parts += [self.plural, *(quote(part, safe="") for part in (name, subresource) if part is not None)]
        return "/" + "/".join(parts)


POSECLUSTERS = Resource(GROUP, VERSION, PLURAL, KIND)
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
SERVICES = Resource("", "v1", "services", "Service")
PDBS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
PODS = Resource("", "v1", "pods", "Pod")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview")

BY_KIND = MappingProxyType(
    {
        (resource.api_version, resource.kind): resource
        for resource in (POSECLUSTERS, DEPLOYMENTS, SERVICES, PDBS, PODS, EVENTS, LEASES)
    }
)


def describe(
    verb: str,
    resource: Resource,
    namespace: str | None,
    name: str | None = None,
    subresource: str | None = None,
) -> str:
    """Return verb and object for people: `patch poseclusters.posecluster.io/status ns/name`."""
    kind = f"{resource.full_name}/{subresource}" if subresource else resource.full_name
    return " ".join([verb, kind, "/".join(part for part in (namespace, name) if part)]).strip()
