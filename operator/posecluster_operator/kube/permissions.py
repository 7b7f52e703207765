"""All permissions that the operator needs, for the check at start and for the chart. Pure.

Permissions on children follow from the table of children. `make manifests` writes them into the chart.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from posecluster_operator.builders.kinds import Resource
from posecluster_operator.builders.table import CHILDREN


@dataclass(frozen=True, slots=True)
class Rule:
    """The verbs that are needed on a resource or subresource (`poseclusters/status`).

    `ours`: only for the object with the Lease's name. (RBAC cannot restrict `create` by name.)
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


def _children_rules() -> Iterator[Rule]:
    """Yield one rule per kind, with the verbs of all children of that kind."""
    verbs: dict[Resource, dict[str, None]] = {}
    for row in CHILDREN:
        verbs.setdefault(row.resource, {}).update(dict.fromkeys(row.verbs))
    for resource, used in verbs.items():
        yield Rule(resource.group, resource.plural, tuple(used))


# in every watched namespace
WATCHED = (
    Rule("posecluster.io", "poseclusters", ("get", "list", "watch")),
    Rule("posecluster.io", "poseclusters/status", ("patch",)),
    *_children_rules(),
    Rule("", "pods", ("list", "watch", "patch")),
    Rule("apps", "replicasets", ("list",)),
    Rule("apps", "replicasets/scale", ("patch",)),
    Rule("events.k8s.io", "events", ("create", "patch")),
)
# Only with the setting WATCH_NODES, in the whole cluster. Without it, drains are not prepared.
NODES = (Rule("", "nodes", ("list",)),)
# Only in the namespace of the Lease. Leases of other programs there must remain inaccessible.
LEASE = (
    Rule("coordination.k8s.io", "leases", ("create",)),
    Rule("coordination.k8s.io", "leases", ("get", "update"), ours=True),
)
