"""Writes deploy/rbac.yaml and rbac-namespaced.yaml from the operator's table of rights (`make rbac`)."""

from pathlib import Path

import yaml

from posecluster_operator.permissions import manifests

_NAMESPACE = "posecluster"
_FOLDER = Path(__file__).resolve().parent.parent / "deploy"
_HEAD = "# Written by `make rbac` from operator/posecluster_operator/permissions.py: change it there.\n"
_FILES = {
    "rbac.yaml": (
        f"# The operator's account in namespace {_NAMESPACE}, and its rights in every namespace.\n"
        f"#   kubectl create namespace {_NAMESPACE} && kubectl apply -f deploy/rbac.yaml\n",
        manifests(namespace=_NAMESPACE),
    ),
    "rbac-namespaced.yaml": (
        f"# The operator's account in namespace {_NAMESPACE}, and rights there; nothing is cluster-wide.\n"
        "# For POSECLUSTER_OPERATOR_NAMESPACES=a,b repeat Role and RoleBinding for each.\n",
        manifests(namespace=_NAMESPACE, watched=[_NAMESPACE]),
    ),
}

_FOLDER.mkdir(exist_ok=True)
for name, (purpose, objects) in _FILES.items():
    text = yaml.safe_dump_all(objects, sort_keys=False, explicit_start=True)
    (_FOLDER / name).write_text(_HEAD + purpose + text, encoding="utf-8")
