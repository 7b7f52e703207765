"""Kinds that the tests use: plural, group, version, kind, and their paths."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object; `path` is where the API server has it."""

    plural: str
    group: str
    version: str
    name: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Of the collection, of one object, or of its subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        space = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return root + space + "/".join(["", self.plural, *(part for part in (name, subresource) if part)])


_RBAC, _ADMISSION = "rbac.authorization.k8s.io", "admissionregistration.k8s.io"
_KINDS = (
    Kind("poseclusters", "posecluster.io", "v1alpha1", "PoseCluster"),
    Kind("deployments", "apps", "v1", "Deployment"),
    Kind("replicasets", "apps", "v1", "ReplicaSet"),
    Kind("pods", "", "v1", "Pod"),
    Kind("services", "", "v1", "Service"),
    Kind("secrets", "", "v1", "Secret"),
    Kind("configmaps", "", "v1", "ConfigMap"),
    Kind("serviceaccounts", "", "v1", "ServiceAccount"),
    Kind("resourcequotas", "", "v1", "ResourceQuota"),
    Kind("limitranges", "", "v1", "LimitRange"),
    Kind("poddisruptionbudgets", "policy", "v1", "PodDisruptionBudget"),
    Kind("events", "events.k8s.io", "v1", "Event"),
    Kind("leases", "coordination.k8s.io", "v1", "Lease"),
    Kind("horizontalpodautoscalers", "autoscaling", "v2", "HorizontalPodAutoscaler"),
    Kind("networkpolicies", "networking.k8s.io", "v1", "NetworkPolicy"),
    Kind("roles", _RBAC, "v1", "Role"),
    Kind("rolebindings", _RBAC, "v1", "RoleBinding"),
    Kind("clusterroles", _RBAC, "v1", "ClusterRole", namespaced=False),
    Kind("clusterrolebindings", _RBAC, "v1", "ClusterRoleBinding", namespaced=False),
    Kind("namespaces", "", "v1", "Namespace", namespaced=False),
    Kind("nodes", "", "v1", "Node", namespaced=False),
    Kind("priorityclasses", "scheduling.k8s.io", "v1", "PriorityClass", namespaced=False),
    Kind(
        "customresourcedefinitions",
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        namespaced=False,
    ),
    Kind("validatingadmissionpolicies", _ADMISSION, "v1", "ValidatingAdmissionPolicy", namespaced=False),
    Kind(
        "validatingadmissionpolicybindings",
        _ADMISSION,
        "v1",
        "ValidatingAdmissionPolicyBinding",
        namespaced=False,
    ),
    Kind(
        "validatingwebhookconfigurations",
        _ADMISSION,
        "v1",
        "ValidatingWebhookConfiguration",
        namespaced=False,
    ),
    Kind(
        "mutatingwebhookconfigurations",
        _ADMISSION,
        "v1",
        "MutatingWebhookConfiguration",
        namespaced=False,
    ),
)
BY_PLURAL = {kind.plural: kind for kind in _KINDS}
BY_KIND = {kind.name: kind for kind in _KINDS}
