"""Validation rules between fields. They correspond to the CRD's CEL rules, with the same messages."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from posecluster_common.origins import has_default_port
from posecluster_operator.resource.fields import KEY_PATTERN, LONGEST_KEY
from posecluster_operator.resource.placement import (
    MatchExpression,
    MatchOperator,
    NodeExpression,
    NodeOperator,
    TaintEffect,
    Toleration,
    TolerationOperator,
    TopologySpreadConstraint,
    WhenUnsatisfiable,
)
from posecluster_operator.resource.posecluster import (
    GROUP,
    PoseCluster,
    Service,
    ServiceType,
    Spec,
    is_reserved,
)
from posecluster_operator.resource.quantity import parse_quantity

# Pods are named NAME-pose-<10>-<5>. Kubernetes truncates the part before the last 5 to 58 characters.
LONGEST_CLUSTER_NAME = 40
CLUSTER_NAME_PATTERN = "^[a-z]([-a-z0-9]*[a-z0-9])?$"


def _ordered(*quantities: str) -> bool:
    numbers = [parse_quantity(text) for text in quantities]
    return numbers == sorted(numbers)


def _node_values(one: NodeExpression) -> bool:
    if one.operator in {NodeOperator.GT, NodeOperator.LT}:
        return len(one.values) == 1 and one.values[0].isdigit()
    return (one.operator in {NodeOperator.IN, NodeOperator.NOT_IN}) == bool(one.values)


def _are_keys(keys: Mapping[str, str]) -> bool:
    return all(len(key) <= LONGEST_KEY and re.fullmatch(KEY_PATTERN, key, re.ASCII) for key in keys)


# The rules of each object, in the order of the CRD. Only the API server can check the transition rules, of
# spec.replicas and service.loadBalancerClass, which compare the object with its previous version.
RULES: Mapping[type, tuple[tuple[str, Callable[[Any], bool]], ...]] = {
    PoseCluster: (
        (
            "metadata.name must have at most 40 characters, so that the names of its children fit: "
            "shorten it",
            lambda one: len(one.name) <= LONGEST_CLUSTER_NAME,
        ),
        (
            "metadata.name must be a DNS label, because Services are named after it: start with a letter, "
            "use a-z, 0-9 and -",
            lambda one: re.fullmatch(CLUSTER_NAME_PATTERN, one.name, re.ASCII) is not None,
        ),
    ),
    Spec: (
        (
            "scaling.minReplicas must not exceed scaling.maxReplicas: lower the first or raise the second",
            lambda one: one.scaling.min_replicas <= one.scaling.max_replicas,
        ),
        (
            "scaling.scaleDown.holdSeconds must not exceed scaling.scaleDown.maxHoldSeconds: "
            "lower the first or raise the second",
            lambda one: one.scaling.scale_down.hold_seconds <= one.scaling.scale_down.max_hold_seconds,
        ),
        (
            "scaling.objective.latencyMilliseconds must not exceed limits.deadlineMilliseconds: "
            "lower the first or raise the second",
            lambda one: one.scaling.objective.latency_milliseconds <= one.limits.deadline_milliseconds,
        ),
        (
            "resources.requests.cpu must not exceed resources.limits.cpu: set both, each has a default",
            lambda one: _ordered(one.resources.requests.cpu, one.resources.limits.cpu),
        ),
        (
            "resources.requests.memory must not exceed resources.limits.memory: set both, each has a default",
            lambda one: _ordered(one.resources.requests.memory, one.resources.limits.memory),
        ),
        (
            "resources.limits.cpu must be from 100m to 1024: choose a value between",
            lambda one: _ordered("100m", one.resources.limits.cpu, "1024"),
        ),
        (
            "resources.limits.memory must be from 256Mi to 16Ti: choose a value between",
            lambda one: _ordered("256Mi", one.resources.limits.memory, "16Ti"),
        ),
        (
            "keys of service.annotations must not start with posecluster.io/, which is reserved for the "
            "operator: use another prefix",
            lambda one: not any(key.startswith(f"{GROUP}/") for key in one.service.annotations),
        ),
        (
            "keys of service.annotations must be valid in Kubernetes, such as example.com/name: "
            "correct the key",
            lambda one: _are_keys(one.service.annotations),
        ),
        (
            "keys of podLabels and podAnnotations must not start with app.kubernetes.io/ or posecluster.io/, "
            "nor be pod-template-hash or controller.kubernetes.io/pod-deletion-cost, which the operator and "
            "Kubernetes set: use another key",
            lambda one: not any(map(is_reserved, (*one.pod_labels, *one.pod_annotations))),
        ),
        (
            "keys of podLabels and podAnnotations must be valid in Kubernetes, such as example.com/name: "
            "correct the key",
            lambda one: _are_keys(one.pod_labels) and _are_keys(one.pod_annotations),
        ),
        (
            "keys of nodeSelector must be valid in Kubernetes, such as example.com/name: correct the key",
            lambda one: _are_keys(one.node_selector),
        ),
        (
            "priorityClassName must not start with system-, which is for the cluster's own pods: "
            "name another class",
            lambda one: not (one.priority_class_name or "").startswith("system-"),
        ),
        (
            "advanced.workerMemoryBytes must not exceed resources.limits.memory: "
            "lower the first or raise the second",
            lambda one: _ordered(str(one.advanced.worker_memory_bytes), one.resources.limits.memory),
        ),
        (
            "allowedOrigins must not list other origins beside *, which means every origin: "
            "remove the others, or remove *",
            lambda one: "*" not in one.allowed_origins or len(one.allowed_origins) == 1,
        ),
        (
            "allowedOrigins must not be * when auth.tokenSecretName is set: "
            "list the origins whose pages may call",
            lambda one: "*" not in one.allowed_origins or one.auth.token_secret_name is None,
        ),
        (
            "allowedOrigins must not name a scheme's default port, which browsers leave out of the "
            "Origin header: remove :80 or :443",
            lambda one: not any(map(has_default_port, one.allowed_origins)),
        ),
    ),
    Service: (
        (
            "service.externalTrafficPolicy must be unset unless service.type is NodePort or LoadBalancer: "
            "remove it, or change the type",
            lambda one: one.external_traffic_policy is None or one.type is not ServiceType.CLUSTER_IP,
        ),
        (
            "service.loadBalancerClass must be unset unless service.type is LoadBalancer: "
            "remove it, or change the type",
            lambda one: one.load_balancer_class is None or one.type is ServiceType.LOAD_BALANCER,
        ),
    ),
    NodeExpression: (
        (
            "matchExpressions of nodeAffinity must have values with operator In or NotIn, one whole number "
            "with Gt or Lt, and none with Exists or DoesNotExist: correct the values",
            _node_values,
        ),
    ),
    MatchExpression: (
        (
            "matchExpressions must have values with operator In or NotIn, and none with Exists or "
            "DoesNotExist: correct the values",
            lambda one: (one.operator in {MatchOperator.IN, MatchOperator.NOT_IN}) == bool(one.values),
        ),
    ),
    Toleration: (
        (
            "a toleration without key must have operator Exists: name the key, or set the operator",
            lambda one: one.key is not None or one.operator is TolerationOperator.EXISTS,
        ),
        (
            "a toleration with operator Exists must not have a value: remove the value, or change the "
            "operator",
            lambda one: one.operator is not TolerationOperator.EXISTS or not one.value,
        ),
        (
            "a toleration with tolerationSeconds must have effect NoExecute: set it, or remove the seconds",
            lambda one: one.toleration_seconds is None or one.effect is TaintEffect.NO_EXECUTE,
        ),
    ),
    TopologySpreadConstraint: (
        (
            "a topologySpreadConstraint with minDomains must have whenUnsatisfiable DoNotSchedule: set it, "
            "or remove minDomains",
            lambda one: (
                one.min_domains is None or one.when_unsatisfiable is WhenUnsatisfiable.DO_NOT_SCHEDULE
            ),
        ),
    ),
}
