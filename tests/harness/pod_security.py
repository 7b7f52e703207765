"""What every pod of ours has in addition to what `restricted` requires."""

from typing import Any

IDS = frozenset({"runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"})


def hardened(pod: dict[str, Any], container_name: str) -> None:
    """Assert it of a pod's spec with one container of this name.

    The pod names no user or group: a platform that assigns them refuses others than its own.
    """
    assert "hostNetwork" not in pod
    assert IDS.isdisjoint(pod["securityContext"])
    assert "initContainers" not in pod
    (container,) = pod["containers"]
    assert container["name"] == container_name
    assert IDS.isdisjoint(container["securityContext"])
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {kind for volume in pod.get("volumes", ()) for kind in volume} <= {"name", "emptyDir", "secret"}
    assert not any("hostPort" in port for port in container.get("ports", ()))
