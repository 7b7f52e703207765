"""A spec in which every field that reaches the pods or Services differs from its default.

Without `service.trafficDistribution`, which the oldest supported Kubernetes does not have.
"""

from typing import Any

FULL_SPEC: dict[str, Any] = {
    "model": {"variant": "Heavy", "maxPeople": 4},
    "image": "registry.example/pose@sha256:" + "ab" * 32,
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry"}],
    "replicas": 3,
    "scaling": {
        "mode": "Fixed",
        "minReplicas": 2,
        "maxReplicas": 8,
        "objective": {"latencyMilliseconds": 400, "latePermille": 20},
        "scaleDown": {"holdSeconds": 30, "maxHoldSeconds": 120},
    },
    "workersPerPod": 3,
    "queueLength": 40,
    "limits": {
        "maxBodyBytes": 2_000_000,
        "maxPixels": 12_000_000,
        "maxSidePixels": 6_000,
        "deadlineMilliseconds": 2_500,
        "hangMilliseconds": 2_000,
        "maxConnections": 300,
        "trustedProxies": ["10.0.0.0/8", "2001:db8::/32"],
        "requestsPerMinutePerClient": 50,
        "burst": 5,
    },
    "allowedOrigins": ["https://app.example.com", "http://localhost:3000"],
    "logFormat": "Json",
    "requestLog": "Sampled",
    "advanced": {
        "headerTimeoutMilliseconds": 4_000,
        "bodyTimeoutMilliseconds": 30_000,
        "bodyBytesPerSecond": 100_000,
        "idleTimeoutMilliseconds": 620_000,
        "writeTimeoutMilliseconds": 8_000,
        "connectionAgeMilliseconds": 0,
        "busyConnectionAgeMilliseconds": 2_000,
        "recycleRequests": 2_000,
        "workerMemoryBytes": 400_000_000,
    },
    "cache": {"entries": 0, "shared": True},
    "auth": {"tokenSecretName": "demo-tokens"},
    "drainSeconds": 20,
    "rollout": {"maxUnavailable": 1},
    "service": {
        "type": "LoadBalancer",
        "port": 8443,
        "externalTrafficPolicy": "Local",
        "loadBalancerClass": "example.com/internal",
        "annotations": {"example.com/scheme": "internal"},
    },
    "resources": {
        "requests": {"cpu": "1", "memory": "768Mi"},
        "limits": {"cpu": "2500m", "memory": "2Gi"},
    },
    "podLabels": {"example.com/team": "vision"},
    "podAnnotations": {"example.com/cost-centre": "4711"},
    "nodeSelector": {"disktype": "ssd"},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}]
            }
        },
        "podAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 50,
                    "podAffinityTerm": {
                        "topologyKey": "topology.kubernetes.io/zone",
                        "labelSelector": {"matchLabels": {"app": "shop"}},
                    },
                }
            ]
        },
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "matchLabelKeys": ["pod-template-hash"]}
            ]
        },
    },
    "tolerations": [{"key": "pose", "operator": "Exists", "effect": "NoSchedule"}],
    "topologySpreadConstraints": [
        {"maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"},
        {
            "maxSkew": 1,
            "topologyKey": "rack",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app": "other"}},
        },
    ],
    "priorityClassName": "high",
}
