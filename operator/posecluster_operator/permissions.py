"""Every right that the operator uses: the table behind the start-up check and the chart. Pure.

`make manifests` takes it into the chart.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One resource, or subresource (`poseclusters/status`), and what is done to it.

    `ours`: only to the one object that has the Lease's name. (RBAC cannot bound a `create` by name.)
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    ours: bool = False

    @property
    def full_name(self) -> str:
        """`deployments.apps`, as in the API server's messages; `poseclusters.posecluster.io/status`."""
        plural, _, subresource = self.resource.partition("/")
        name = f"{plural}.{self.group}" if self.group else plural
        return f"{name}/{subresource}" if subresource else name


_READ = ("get", "list", "watch")
# A server-side apply is authorised as a patch, and as a create too when the object is not there yet.
_KEEP = (*_READ, "create", "patch")

# in every namespace that is watched
WATCHED = (
    Rule("posecluster.io", "poseclusters", _READ),
    Rule("posecluster.io", "poseclusters/status", ("patch",)),
    Rule("apps", "deployments", _KEEP),
    Rule("", "services", _KEEP),
    Rule("policy", "poddisruptionbudgets", (*_KEEP, "delete")),
    Rule("", "pods", ("list", "watch", "patch")),
    Rule("events.k8s.io", "events", ("create", "patch")),
)
# in the Lease's namespace alone, which others may share: their Leases are not to be touched
LEASE = (
    Rule("coordination.k8s.io", "leases", ("create",)),
    Rule("coordination.k8s.io", "leases", ("get", "update"), ours=True),
)
