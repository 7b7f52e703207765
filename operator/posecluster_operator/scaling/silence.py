"""Nodes whose pods do not respond, from failed scrapes and from pods that Kubernetes set to unready. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, condition, text
from posecluster_operator.resource.stable_text import first_names
from posecluster_operator.scaling.pods import node_of

Silent = Mapping[str, tuple[str, ...]]  # the names of the pods on each silent node, by the node's name

SILENT_SECONDS = 10.0


def silent_nodes(now: float, unanswered: Iterable[tuple[str, float | None]]) -> frozenset[str]:
    """Return the nodes of which no pod has responded to scrapes for 10 s.

    `unanswered`: for each scraped pod its node, and since when it has not responded, or None if it responds.
    If no pod of any other node responds either, the cause is probably the operator's own network or a
    NetworkPolicy, so that no node is named.
    """
    since: dict[str, list[float | None]] = {}
    for node, at in unanswered:
        since.setdefault(node, []).append(at)
    responding = {node for node, times in since.items() if None in times}
    if not responding:
        return frozenset()
    return frozenset(
        node
        for node, times in since.items()
        if node and all(at is not None and now - at >= SILENT_SECONDS for at in times)
    )


def is_lost(pod: Json) -> bool:
    """Return whether Kubernetes set the pod to unready because its node stopped responding.

    The node controller changes only the condition Ready. When the kubelet sets it to False, it gives a
    reason, and ContainersReady is False too, unless a readiness gate is not met.
    """
    ready, containers = (condition(child(pod, "status"), kind) for kind in ("Ready", "ContainersReady"))
    return (
        text(ready, "status") == "False"
        and not text(ready, "reason")
        and text(containers, "status") == "True"
    )


def with_lost(silent: Silent, pods: Sequence[Json]) -> Silent:
    """Return `silent` with the nodes of lost pods."""
    found = {node: set(names) for node, names in silent.items()}
    for pod in pods:
        if is_lost(pod) and node_of(pod):
            found.setdefault(node_of(pod), set()).add(pod["metadata"]["name"])
    return {node: tuple(sorted(found[node])) for node in sorted(found)}


def describe(nodes: Silent) -> str:
    """Return `node a (pods x, y), node b (pod z)`."""
    return ", ".join(f"node {node} ({_listed(names)})" for node, names in nodes.items())


def silent_message(silent: Silent) -> str:
    """Return what is known about silent nodes, and what happens next."""
    return (
        f"No pod responds on {describe(silent)}. If the node has failed, the Service stops routing requests "
        "to these pods about 50 s after the failure, and replacements start on other nodes at that time. "
        "The pods themselves are deleted after their tolerations for failed nodes, 30 s by default."
    )


def silent_advice(namespace: str, silent: Silent) -> tuple[str, ...]:
    """Return what to do about silent nodes: sentences, and commands that begin with `kubectl`."""
    return (
        "Check the nodes of the pods that do not respond:",
        *(f"kubectl describe node {node}" for node in silent),
        "To end the routing of requests to these pods and to replace them now, delete them:",
        *(f"kubectl -n {namespace} delete pod --wait=false {' '.join(names)}" for names in silent.values()),
    )


def _listed(names: Sequence[str]) -> str:
    return f"{'pod' if len(names) == 1 else 'pods'} {first_names(names)}"
