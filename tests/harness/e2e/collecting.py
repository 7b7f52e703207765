"""What is collected after a failed test: logs, Events and objects of everything it had in the cluster."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.e2e.release import state
from harness.kubernetes.api import Api, ApiError
from harness.kubernetes.waiting import Json, conditions

_DIGEST_EVENTS = 6
_LOG_LINES = 2_000


def collect(api: Api, namespaces: Sequence[str], folder: Path) -> str:
    """Write all of it into `folder`; a short digest for the report.

    A kind that is not there, such as PoseClusters without their CRD, has nothing; other errors are raised.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines = []
    for namespace in namespaces:
        if api.find("namespaces", None, namespace) is None:
            continue
        for resource in ("poseclusters", "deployments", "pods", "events", "services"):
            found = _list(api, resource, namespace)
            text = json.dumps(found, indent=1, ensure_ascii=False)
            (folder / f"{namespace}-{resource}.json").write_text(text, encoding="utf-8")
            lines += _digest(resource, namespace, found)
        for pod in _list(api, "pods", namespace):
            _logs(api, pod, folder)
    return "\n".join([*lines, f"all of it: {folder}"])


def folder_name(test: str) -> str:
    """A test's id as a file name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", test.rpartition("/")[2])


def _list(api: Api, resource: str, namespace: str) -> list[Json]:
    try:
        return api.list(resource, namespace)
    except ApiError as error:
        if error.status == 404:
            return []
        raise


def _logs(api: Api, pod: Json, folder: Path) -> None:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    for previous in (False, True):
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/log"
        params = {"previous": str(previous).lower(), "tailLines": str(_LOG_LINES)}
        answer = api.request("GET", path, params=params)
        if answer.is_success:
            file = folder / f"{namespace}-{name}{'-previous' if previous else ''}.log"
            file.write_text(answer.text, encoding="utf-8")


def _digest(resource: str, namespace: str, found: list[Json]) -> list[str]:
    if resource == "pods":
        return [f"{namespace}: pod {pod['metadata']['name']}: {state(pod)}" for pod in found]
    if resource == "poseclusters":
        return [
            f"{namespace}: {one['metadata']['name']}: {kind}={it['status']} {it['reason']}: {it['message']}"
            for one in found
            for kind, it in conditions(one).items()
        ]
    if resource == "events":
        warnings = [one for one in found if one.get("type") == "Warning"][-_DIGEST_EVENTS:]
        return [
            f"{namespace}: {one['regarding'].get('name')}: {one['reason']}: {one.get('note', '')[:200]}"
            for one in warnings
        ]
    return []
