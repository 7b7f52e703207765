"""What every pod of ours has beyond what `restricted` asks for."""

from typing import Any


def hardened(pod: dict[str, Any], container_name: str) -> None:
    """Assert it of a pod's spec with one container of this name."""
    assert "hostNetwork" not in pod
    assert pod["securityContext"]["runAsUser"] >= 10_000
    assert pod["securityContext"]["runAsGroup"] >= 10_000
    assert "initContainers" not in pod
    (container,) = pod["containers"]
    assert container["name"] == container_name
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {kind for volume in pod.get("volumes", ()) for kind in volume} <= {"name", "emptyDir", "secret"}
    assert not any("hostPort" in port for port in container.get("ports", ()))
