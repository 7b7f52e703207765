"""The server's settings in pods: which field of the spec sets each, or why it has no field.

Variables are named without their prefix. docs/reference.md is generated from these tables.
"""

from collections.abc import Mapping
from enum import StrEnum
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from posecluster_operator.resource.parsing import camel
from posecluster_operator.resource.posecluster import Spec

PREFIX = "POSECLUSTER_"
CLIENT_PORT, ADMIN_PORT = 8080, 9090
TOKENS_DIR = "/etc/posecluster/tokens"

_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "WORKERS": "workers_per_pod",
        "QUEUE_LENGTH": "queue_length",
        "MODEL_TASK": "model.task",
        "MODEL_VARIANT": "model.variant",
        "MAX_PEOPLE": "model.max_people",
        "MAX_BODY_BYTES": "limits.max_body_bytes",
        "MAX_PIXELS": "limits.max_pixels",
        "MAX_SIDE_PIXELS": "limits.max_side_pixels",
        "DEADLINE_MS": "limits.deadline_milliseconds",
        "HANG_LIMIT_MS": "limits.hang_milliseconds",
        "LATENCY_OBJECTIVE_MS": "scaling.objective.latency_milliseconds",
        "DRAIN_DELAY_MS": "drain_seconds",
        "RATE_LIMIT_PER_MINUTE": "limits.requests_per_minute_per_client",
        "RATE_LIMIT_BURST": "limits.burst",
        "MAX_CONNECTIONS": "limits.max_connections",
        "TRUSTED_PROXIES": "limits.trusted_proxies",
        "ALLOWED_ORIGINS": "allowed_origins",
        "CACHE_ENTRIES": "cache.entries",
        "CACHE_SHARED": "cache.shared",
        "AUTH_TOKENS_DIR": "auth.token_secret_name",
        "LOG_FORMAT": "log_format",
        "REQUEST_LOG": "request_log",
        "HEADER_TIMEOUT_MS": "advanced.header_timeout_milliseconds",
        "BODY_TIMEOUT_MS": "advanced.body_timeout_milliseconds",
        "BODY_BYTES_PER_SECOND": "advanced.body_bytes_per_second",
        "IDLE_TIMEOUT_MS": "advanced.idle_timeout_milliseconds",
        "WRITE_TIMEOUT_MS": "advanced.write_timeout_milliseconds",
        "CONNECTION_AGE_MS": "advanced.connection_age_milliseconds",
        "BUSY_CONNECTION_AGE_MS": "advanced.busy_connection_age_milliseconds",
        "RECYCLE_REQUESTS": "advanced.recycle_requests",
        "WORKER_MEMORY_BYTES": "advanced.worker_memory_bytes",
    }
)
FIELDS: Mapping[str, str] = MappingProxyType(
    {name: ".".join(map(camel, path.split("."))) for name, path in _FIELDS.items()}
)
WITHOUT_FIELD: Mapping[str, str] = MappingProxyType(
    {
        "HOST": "unset, so that pods listen on all their addresses, of both IP families",
        "PORT": f"{CLIENT_PORT} in every pod; the Service's port is `service.port`",
        "ADMIN_PORT": f"{ADMIN_PORT} in every pod",
        "MODEL_DIR": "the image contains the model files",
        "ENGINE": "pods run MediaPipe",
        "ENGINE_ENVIRONMENT": "pods run MediaPipe, which needs no variables",
        "SANDBOX": "on in every pod, as far as its node allows",
        "CGROUP_ROOT": "the same in every container",
        "RECYCLE_GROWTH_PERCENT": (
            "a worker's memory after its start is the same in every cluster; what pictures may add is "
            "`advanced.workerMemoryBytes`"
        ),
    }
)
_CONSTANT: Mapping[str, str] = MappingProxyType({"PORT": str(CLIENT_PORT), "ADMIN_PORT": str(ADMIN_PORT)})


def environment(spec: Spec) -> dict[str, str]:
    """Return the environment variables of a pod by their full names, including defaults.

    Defaults are included so that a PoseCluster behaves the same with every image.
    """
    computed: dict[str, Any] = {
        "WORKERS": spec.workers,
        "QUEUE_LENGTH": spec.queue_places,
        "DRAIN_DELAY_MS": spec.drain_seconds * 1000,
        "AUTH_TOKENS_DIR": TOKENS_DIR if spec.auth.token_secret_name else None,
    }
    values = {name: computed.get(name, attrgetter(path)(spec)) for name, path in _FIELDS.items()}
    written = {name: _text(value) for name, value in values.items() if value not in (None, ())}
    return {PREFIX + name: value for name, value in {**_CONSTANT, **written}.items()}


def _text(value: int | str | StrEnum | tuple[str, ...]) -> str:
    if isinstance(value, bool | StrEnum):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)
