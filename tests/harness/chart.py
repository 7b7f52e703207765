"""The chart as helm renders it. A test that needs helm is skipped with that reason where it is missing."""

import json
import os
import subprocess
from collections.abc import Sequence
from functools import cache
from typing import Any

import yaml

from harness.programs import find_program
from harness.server import ROOT

CHART = ROOT / "charts" / "posecluster"
RELEASE = NAMESPACE = "posecluster"

Json = dict[str, Any]


class ChartError(AssertionError):
    """helm refused."""


def helm(*arguments: str, stdin: str = "") -> str:
    """What helm prints; ChartError with its errors. Skips the test when there is no helm."""
    program = find_program("helm")
    # helm must not contact the cluster of the caller's environment
    environment = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
    done = subprocess.run(
        [program, *arguments], input=stdin, capture_output=True, encoding="utf-8", env=environment, timeout=60
    )
    if done.returncode != 0:
        raise ChartError(done.stdout + done.stderr)
    return done.stdout


@cache
def _template(values: str, release: str, namespace: str, flags: tuple[str, ...]) -> str:
    command = ["template", release, str(CHART), "--namespace", namespace, "--values", "-", *flags]
    return helm(*command, stdin=values)


def render(
    values: Json | None = None,
    *,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    flags: Sequence[str] = (),
) -> list[Json]:
    """All objects of the chart for these values; ChartError if helm refuses them."""
    text = _template(yaml.safe_dump(values or {}), release, namespace, tuple(flags))
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(objects: Sequence[Json], *kinds: str) -> list[Json]:
    """Those of these kinds, in their order."""
    return [one for one in objects if one["kind"] in kinds]


def one_of(objects: Sequence[Json], kind: str, name: str | None = None) -> Json:
    """The only one of this kind, or of this kind and name."""
    found = [one for one in of_kind(objects, kind) if name in (None, one["metadata"]["name"])]
    assert len(found) == 1, [one["metadata"]["name"] for one in of_kind(objects, kind)]
    return found[0]


def rights(*, namespace: str, watched: Sequence[str] = (), operator: Json | None = None) -> list[Json]:
    """The operator's account and all that is bound to it, of a release in `namespace`.

    `operator`: more values of the operator.
    """
    objects = render({"operator": {"namespaces": list(watched)} | (operator or {})}, namespace=namespace)
    bindings = of_kind(objects, "RoleBinding", "ClusterRoleBinding")
    bound = {(one["roleRef"]["kind"], one["roleRef"]["name"]) for one in bindings}
    roles = [
        one
        for one in of_kind(objects, "Role", "ClusterRole")
        if (one["kind"], one["metadata"]["name"]) in bound
    ]
    return [*of_kind(objects, "ServiceAccount"), *roles, *bindings]


def pod_templates(objects: Sequence[Json]) -> list[Json]:
    """Metadata and spec of every pod that these objects are or make."""
    templates = [one["spec"]["template"] for one in objects if "template" in one.get("spec", {})]
    return [*templates, *of_kind(objects, "Pod")]


def schema() -> Json:
    """The schema of the chart's values."""
    found: Json = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return found
