"""The schema of the values refuses unknown keys and wrong types, and names them."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import yaml

from harness.chart import CHART, ChartError, Json, helm, render, schema
from harness.server import ROOT

BAD: dict[str, tuple[Json, str]] = {
    "top": ({"replicaCount": 2}, "replicaCount"),
    "in the operator": ({"operator": {"replica": 2}}, "replica"),
    "in an image": ({"operator": {"image": {"name": "x"}}}, "name"),
    "in the inference image": ({"inference": {"image": {"registry": "x"}}}, "registry"),
    "in inference": ({"inference": {"resources": {}}}, "resources"),
    "an unknown setting": ({"operator": {"settings": {"leaseSecond": 5}}}, "leaseSecond"),
    "a setting of the chart's": ({"operator": {"settings": {"namespaces": "a"}}}, "namespaces"),
    "in the account": ({"operator": {"serviceAccount": {"token": True}}}, "token"),
    "in resources": ({"operator": {"resources": {"request": {}}}}, "request"),
    "in a toleration": ({"operator": {"tolerations": [{"kind": "x"}]}}, "kind"),
    "in affinity": ({"operator": {"affinity": {"node": {}}}}, "node"),
    "in rbac": ({"rbac": {"create": True}}, "create"),
    "in podMonitor": ({"podMonitor": {"enable": True}}, "enable"),
    "in prometheusRule": ({"prometheusRule": {"rules": []}}, "rules"),
    "in grafanaDashboard": ({"grafanaDashboard": {"folder": "x"}}, "folder"),
    "in networkPolicy": ({"networkPolicy": {"ingress": []}}, "ingress"),
    "in a peer": ({"networkPolicy": {"clients": [{"pod": {}}]}}, "pod"),
    "three replicas": ({"operator": {"replicas": 3}}, "replicas"),
    "replicas as text": ({"operator": {"replicas": "1"}}, "replicas"),
    "half a replica": ({"operator": {"replicas": 1.5}}, "replicas"),
    "an allowed label that is no key": ({"operator": {"allowedPodLabels": ["*"]}}, "allowedPodLabels"),
    "allowed annotations as text": (
        {"operator": {"allowedPodAnnotations": "example.com/a"}},
        "allowedPodAnnotations",
    ),
    "a namespace list as text": ({"operator": {"namespaces": "a,b"}}, "namespaces"),
    "a namespace twice": ({"operator": {"namespaces": ["a", "a"]}}, "namespaces"),
    "a namespace that cannot be": ({"operator": {"namespaces": ["A_b"]}}, "namespaces"),
    "a pull policy": ({"operator": {"image": {"pullPolicy": "Sometimes"}}}, "pullPolicy"),
    "no pull policy": ({"operator": {"image": {"pullPolicy": ""}}}, "pullPolicy"),
    "root as the operator's user": (
        {"operator": {"podSecurityContext": {"runAsUser": 0}}},
        "podSecurityContext",
    ),
    "a name as a user": ({"inference": {"podSecurityContext": {"runAsUser": "pose"}}}, "podSecurityContext"),
    "another field of a security context": (
        {"inference": {"podSecurityContext": {"runAsNonRoot": False}}},
        "podSecurityContext",
    ),
    "no repository": ({"inference": {"image": {"repository": ""}}}, "repository"),
    "a tag in the repository": (
        {"inference": {"image": {"repository": "registry.example/x:7"}}},
        "repository",
    ),
    "a tag with a space": ({"operator": {"image": {"tag": "a b"}}}, "tag"),
    "a tag as a number": ({"operator": {"image": {"tag": 1.0}}}, "tag"),
    "a short digest": ({"operator": {"image": {"digest": "sha256:1"}}}, "digest"),
    "a pull secret as text": ({"operator": {"image": {"pullSecrets": ["a"]}}}, "pullSecrets"),
    "a log format": ({"operator": {"logFormat": "xml"}}, "logFormat"),
    "a lease below its bound": ({"operator": {"settings": {"leaseSeconds": 2}}}, "leaseSeconds"),
    "a quantity": ({"operator": {"resources": {"limits": {"memory": "lots"}}}}, "memory"),
    "a label that is a number": ({"operator": {"podLabels": {"a": 1}}}, "podLabels"),
    "enabled as text": ({"podMonitor": {"enabled": "yes"}}, "enabled"),
    "no interval": ({"podMonitor": {"interval": "0s"}}, "interval"),
    "no port of the API server": ({"networkPolicy": {"apiServerPorts": []}}, "apiServerPorts"),
    "nobody's account": ({"operator": {"serviceAccount": {"create": False}}}, "serviceAccount"),
}


@pytest.mark.parametrize(("values", "named"), BAD.values(), ids=BAD)
def test_bad_values_are_refused_by_name(values: Json, named: str) -> None:
    with pytest.raises(ChartError, match=rf"(?s)don't meet the specifications of the schema.*{named}"):
        render(values)


def objects_of(one: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every object schema that lists its keys, wherever it is."""
    if "properties" in one and one.get("type") == "object":
        yield path, one
    for key in ("properties", "definitions"):
        for name, child in one.get(key, {}).items():
            yield from objects_of(child, f"{path}.{name}")
    if "items" in one:
        yield from objects_of(one["items"], f"{path}[]")


def test_every_object_with_known_keys_refuses_others() -> None:
    found = dict(objects_of(schema()))
    assert len(found) > 15
    assert [path for path, one in found.items() if one.get("additionalProperties") is not False] == []


def test_every_key_of_the_schema_is_a_key_of_the_values_and_described() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    def check(one: Json, value: object, path: str) -> None:
        for name, child in one.get("properties", {}).items():
            place = f"{path}{name}"
            assert len(child["description"]) > 8, place
            if place.startswith("operator.settings.") or place == "global":
                continue
            assert isinstance(value, dict)
            assert name in value, place
            check(child, value[name], f"{place}.")

    check(schema(), values, "")


def test_lint_is_clean() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))
    everything = {part: {"enabled": True} for part in ("podMonitor", "prometheusRule", "networkPolicy")}
    assert "0 chart(s) failed" in helm(
        "lint", "--strict", str(CHART), "-f", "-", stdin=yaml.safe_dump(everything)
    )


def test_the_generated_files_are_up_to_date() -> None:
    """The CRD's copy, the rights, descriptions in the schema, the README's table, deploy/install.yaml."""
    helm("version")
    script = ROOT / "scripts" / "manifests.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
