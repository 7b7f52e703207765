"""For each rule of the CRD, by its message, an object that it accepts and one that it refuses."""

from typing import Any

Json = dict[str, Any]


def _constraint(**more: Any) -> Json:
    base = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    return {"topologySpreadConstraints": [base | more]}


def _expression(operator: str, *values: str) -> Json:
    expression = {"key": "a", "operator": operator, "values": list(values)}
    return _constraint(labelSelector={"matchExpressions": [expression]})


def _node_expression(operator: str, *values: str) -> Json:
    term = {"matchExpressions": [{"key": "a", "operator": operator, "values": list(values)}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": required}}


def _resources(what: str, request: str | int, limit: str | int) -> Json:
    return {"resources": {"requests": {what: request}, "limits": {what: limit}}}


# start of the message -> (specs accepted, specs refused); "name" in place of a spec is the object's name
CASES: dict[str, tuple[list[Json | str], list[Json | str]]] = {
    "metadata.name must have at most 40 characters": (
        ["a" * 40],
        ["a" * 41, "a" * 253],
    ),
    "metadata.name must be a DNS label": (
        ["a", "pose-2-x"],
        ["2", "0123456789", "2-pose", "a.b"],
    ),
    "scaling.minReplicas must not exceed": (
        [{"scaling": {"minReplicas": 10}}, {"scaling": {"minReplicas": 500, "maxReplicas": 500}}],
        [{"scaling": {"minReplicas": 11}}, {"scaling": {"minReplicas": 3, "maxReplicas": 2}}],
    ),
    "scaling.scaleDown.holdSeconds must not exceed": (
        [{"scaling": {"scaleDown": {"holdSeconds": 300}}}],
        [
            {"scaling": {"scaleDown": {"holdSeconds": 301}}},
            {"scaling": {"scaleDown": {"maxHoldSeconds": 59}}},
        ],
    ),
    "scaling.objective.latencyMilliseconds must not exceed": (
        [{"scaling": {"objective": {"latencyMilliseconds": 10_000}}}],
        [
            {"scaling": {"objective": {"latencyMilliseconds": 10_001}}},
            {"limits": {"deadlineMilliseconds": 249}},
        ],
    ),
    "resources.requests.cpu must not exceed": (
        [_resources("cpu", "2000m", 2), _resources("cpu", 0, "0.1")],
        [_resources("cpu", "2001m", 2), {"resources": {"limits": {"cpu": "400m"}}}],
    ),
    "resources.requests.memory must not exceed": (
        [_resources("memory", "1Gi", 1 << 30), _resources("memory", "999999k", "1G")],
        [_resources("memory", "1Gi", "1G"), {"resources": {"limits": {"memory": "256Mi"}}}],
    ),
    "resources.limits.cpu must be from": (
        [_resources("cpu", 0, "100m"), _resources("cpu", 1, "1024")],
        [_resources("cpu", 0, "99m"), _resources("cpu", 0, 0), _resources("cpu", 1, "1025")],
    ),
    "resources.limits.memory must be from": (
        [_resources("memory", 0, "256Mi"), _resources("memory", "1Gi", "16Ti")],
        [
            _resources("memory", 0, "255Mi"),
            _resources("memory", 0, 0),
            _resources("memory", 0, "100m"),
            _resources("memory", "1Gi", "465458732Gi"),
        ],
    ),
    "keys of service.annotations must not start with": (
        [{"service": {"annotations": {"example.com/posecluster.io": "a"}}}],
        [{"service": {"annotations": {"posecluster.io/paused": "true"}}}],
    ),
    "keys of service.annotations must be valid": (
        [{"service": {"annotations": {"service.beta.kubernetes.io/a_B.c": "x y"}}}],
        [
            {"service": {"annotations": {"two words": "a"}}},
            {"service": {"annotations": {"a/b/c": "a"}}},
            {"service": {"annotations": {"a" * 318: "a"}}},
            {"service": {"annotations": {"": "a"}}},
        ],
    ),
    "keys of nodeSelector must be valid": (
        [{"nodeSelector": {"kubernetes.io/arch": "arm64", "disk": ""}}],
        [{"nodeSelector": {"-a": "b"}}, {"nodeSelector": {"a" * 64: "b"}}],
    ),
    "keys of podLabels and podAnnotations must not start": (
        [
            {"podLabels": {"example.com/team": "vision", "pod-template": "a"}},
            {"podAnnotations": {"kubernetes.io/name": "a", "controller.kubernetes.io/other": "a"}},
        ],
        [
            {"podLabels": {"app.kubernetes.io/instance": "other"}},
            {"podLabels": {"app.kubernetes.io/part-of": "a"}},
            {"podLabels": {"pod-template-hash": "0"}},
            {"podAnnotations": {"posecluster.io/template-hash": "0"}},
            {"podAnnotations": {"controller.kubernetes.io/pod-deletion-cost": "2147483647"}},
        ],
    ),
    "keys of podLabels and podAnnotations must be valid": (
        [{"podLabels": {"example.com/a_B.c": ""}, "podAnnotations": {"a": "x y"}}],
        [
            {"podLabels": {"two words": "a"}},
            {"podAnnotations": {"a/b/c": "a"}},
            {"podAnnotations": {"": "a"}},
        ],
    ),
    "advanced.workerMemoryBytes must not exceed": (
        [
            {"advanced": {"workerMemoryBytes": 1 << 30}},
            _resources("memory", "1Gi", "2Gi") | {"advanced": {"workerMemoryBytes": 2 << 30}},
        ],
        [
            {"advanced": {"workerMemoryBytes": (1 << 30) + 1}},
            _resources("memory", "256Mi", "512Mi") | {"advanced": {"workerMemoryBytes": 1 << 30}},
        ],
    ),
    "allowedOrigins must not list other origins": (
        [{"allowedOrigins": ["*"]}, {"allowedOrigins": []}],
        [{"allowedOrigins": ["*", "https://example.com"]}, {"allowedOrigins": ["*", "*"]}],
    ),
    "allowedOrigins must not be * when": (
        [
            {"allowedOrigins": ["https://example.com"], "auth": {"tokenSecretName": "tokens"}},
            {"allowedOrigins": ["*"], "auth": {}},
        ],
        [{"allowedOrigins": ["*"], "auth": {"tokenSecretName": "tokens"}}],
    ),
    "allowedOrigins must not name a scheme's default port": (
        [
            {
                "allowedOrigins": [
                    "https://example.com:80",
                    "http://example.com:443",
                    "https://example.com:8443",
                ]
            }
        ],
        [
            {"allowedOrigins": ["https://example.com:443"]},
            {"allowedOrigins": ["https://a", "http://[::1]:80"]},
        ],
    ),
    "service.externalTrafficPolicy must be unset": (
        [
            {"service": {"type": "NodePort", "externalTrafficPolicy": "Local"}},
            {"service": {"type": "LoadBalancer", "externalTrafficPolicy": "Cluster"}},
        ],
        [
            {"service": {"externalTrafficPolicy": "Cluster"}},
            {"service": {"type": "ClusterIP", "externalTrafficPolicy": "Local"}},
        ],
    ),
    "service.loadBalancerClass must be unset": (
        [{"service": {"type": "LoadBalancer", "loadBalancerClass": "example.com/internal"}}],
        [
            {"service": {"loadBalancerClass": "internal"}},
            {"service": {"type": "NodePort", "loadBalancerClass": "internal"}},
        ],
    ),
    "matchExpressions of nodeAffinity must have values": (
        [
            _node_expression("In", "a", "b"),
            _node_expression("Gt", "3"),
            _node_expression("Exists"),
        ],
        [
            _node_expression("NotIn"),
            _node_expression("DoesNotExist", "a"),
            _node_expression("Gt"),
            _node_expression("Lt", "1", "2"),
            _node_expression("Lt", "a"),
        ],
    ),
    "priorityClassName must not start with system-": (
        [{"priorityClassName": "not-system-critical"}],
        [{"priorityClassName": "system-node-critical"}],
    ),
    "a toleration without key": (
        [{"tolerations": [{"operator": "Exists"}]}, {"tolerations": [{"key": "a"}]}],
        [{"tolerations": [{"operator": "Equal", "value": "a"}]}, {"tolerations": [{"key": "a"}, {}]}],
    ),
    "a toleration with operator Exists must not": (
        [
            {
                "tolerations": [
                    {"key": "a", "operator": "Exists"},
                    {"key": "a", "operator": "Equal", "value": "b"},
                ]
            }
        ],
        [{"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}],
    ),
    "a toleration with tolerationSeconds": (
        [{"tolerations": [{"key": "a", "effect": "NoExecute", "tolerationSeconds": 0}]}],
        [
            {"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 0}]},
            {"tolerations": [{"key": "a", "tolerationSeconds": 30}]},
        ],
    ),
    "a topologySpreadConstraint with minDomains": (
        [_constraint(minDomains=2, whenUnsatisfiable="DoNotSchedule")],
        [_constraint(minDomains=2)],
    ),
    "matchExpressions must have values": (
        [_expression("In", "a"), _expression("NotIn", "a", "b"), _expression("DoesNotExist")],
        [_expression("In"), _expression("Exists", "a")],
    ),
}


def body(case: Json | str, *, name: str = "pose", namespace: str = "default") -> Json:
    """The object of a case."""
    if isinstance(case, str):
        name, case = case, {}
    return {
        "apiVersion": "posecluster.io/v1alpha1",
        "kind": "PoseCluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": case,
    }
