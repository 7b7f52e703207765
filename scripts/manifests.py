"""Write the chart's copies of other files, its table of values, and deploy/install.yaml (`make manifests`).

Usage: manifests.py [--check]; `--check` changes nothing, names outdated files and exits with 1.
deploy/install.yaml needs helm, on PATH or beside the programs in KUBEBUILDER_ASSETS.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "operator")]

import chart_values  # noqa: E402

from posecluster_operator.kube.permissions import LEASE, NODES, WATCHED, Rule  # noqa: E402
from posecluster_operator.resource.parsing import camel  # noqa: E402
from posecluster_operator.settings import Settings  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "posecluster"
_RELEASE = _NAMESPACE = "posecluster"
_PERMISSIONS = (
    "# Made by `make manifests` from operator/posecluster_operator/kube/permissions.py: change it there.\n"
)
_INSTALL = """\
# Installs the namespace, the CRD, the operator, its RBAC and its policy. By `make manifests` from the chart.
# Needs Kubernetes 1.30 or newer: on 1.29, delete the objects of admissionregistration.k8s.io.
#   kubectl apply --server-side --force-conflicts -f deploy/install.yaml
# The image names are those of this checkout and have no registry: prefix posecluster-operator: and
# posecluster-inference: below with your registry.
"""


def rules(table: Sequence[Rule]) -> list[dict[str, Any]]:
    """RBAC rules of a table of rights; the chart puts the Lease's name in place of the default one."""
    return [
        {"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)}
        | ({"resourceNames": [Settings().lease_name]} if rule.ours else {})
        for rule in table
    ]


def permissions() -> str:
    """Text of the chart's files/permissions.yaml."""
    table = {"watched": rules(WATCHED), "nodes": rules(NODES), "lease": rules(LEASE)}
    return _PERMISSIONS + yaml.safe_dump(table, sort_keys=False, default_flow_style=None, width=120)


def find_helm() -> str | None:
    """Path of helm; None if it is not there."""
    return shutil.which("helm") or shutil.which("helm", path=os.environ.get("KUBEBUILDER_ASSETS", ""))


def install(helm: str) -> str:
    """Text of deploy/install.yaml."""
    command = [helm, "template", _RELEASE, str(CHART), "--namespace", _NAMESPACE]
    rendered = subprocess.run(
        [*command, "--include-crds", "--skip-tests"], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout
    # objects applied with kubectl must not look like a Helm release
    rendered = re.sub(r"(?m)^ +(app\.kubernetes\.io/managed-by: Helm|helm\.sh/chart: .*)\n", "", rendered)
    labels = {f"pod-security.kubernetes.io/{level}": "restricted" for level in ("enforce", "warn", "audit")}
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": _NAMESPACE, "labels": {"app.kubernetes.io/part-of": "posecluster"} | labels},
    }
    return f"{_INSTALL}---\n{yaml.safe_dump(namespace, sort_keys=False)}{rendered}"


def main() -> int:
    helm = find_helm()
    if helm is None:
        print("make manifests needs helm: on PATH, or in KUBEBUILDER_ASSETS", file=sys.stderr)
        return 1
    check, stale = "--check" in sys.argv[1:], []

    def write(path: Path, text: str) -> None:
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            name = str(path.relative_to(ROOT))
            stale.append(name)
            # immediately, because the files below may use it
            print(f"{name} is out of date: run make manifests" if check else f"Wrote {name}", flush=True)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")

    crd = "crds/poseclusters.yaml"
    write(CHART / crd, (ROOT / crd).read_text(encoding="utf-8"))
    write(CHART / "files" / "permissions.yaml", permissions())
    settings = {camel(item.name): item.metadata["help"] for item in fields(Settings)}
    values, schema = chart_values.read(CHART, settings)
    write(CHART / "values.schema.json", json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
    page = CHART / "README.md"
    write(page, chart_values.filled(page.read_text(encoding="utf-8"), values, schema))
    write(ROOT / "deploy" / "install.yaml", install(helm))
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
