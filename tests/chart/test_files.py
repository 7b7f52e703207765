"""Files in the chart and beside it: CRD, versions, install.yaml, notes, dashboard, examples."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from harness import crd
from harness.chart import CHART, NAMESPACE, Json, helm, of_kind, one_of, render
from harness.metric_names import inference, operator, unknown
from harness.server import ROOT
from posecluster_operator.errors import InvalidSpec
from posecluster_operator.resource.parsing import parse

INSTALL = ROOT / "deploy" / "install.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"


def install() -> list[Json]:
    return [one for one in yaml.safe_load_all(INSTALL.read_text(encoding="utf-8")) if one]


@pytest.mark.smoke
def test_the_crd_is_the_same_byte_for_byte() -> None:
    copy = CHART / "crds" / "poseclusters.yaml"
    assert copy.read_bytes() == crd.FILE.read_bytes()
    assert [path.name for path in copy.parent.iterdir()] == ["poseclusters.yaml"]


def test_chart_and_project_have_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert about["version"] == about["appVersion"] == project["version"]
    assert about["kubeVersion"]


@pytest.mark.control
@pytest.mark.parametrize(
    "file", ["crds/poseclusters.yaml", "files/permissions.yaml", "README.md", "values.yaml"]
)
def test_control_an_outdated_file_is_named(file: str, tmp_path: Path) -> None:
    helm("version")
    for folder in ("scripts", "charts", "crds", "deploy", "operator"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "charts" / "posecluster" / file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("list", "lost"), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != text
    command = [sys.executable, str(tmp_path / "scripts" / "manifests.py"), "--check"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 1
    # a comment of values.yaml is the schema's description and the README's
    changed = {"values.yaml": "values.schema.json"}.get(file, file)
    assert f"charts/posecluster/{changed} is out of date: run make manifests" in done.stdout


# --- deploy/install.yaml ---


@pytest.mark.smoke
def test_install_has_namespace_and_crd_first_and_all_that_helm_would_make() -> None:
    objects = install()
    assert [one["kind"] for one in objects[:2]] == ["Namespace", "CustomResourceDefinition"]
    labels = objects[0]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert objects[1] == yaml.safe_load(crd.FILE.read_text(encoding="utf-8"))
    expected = render(flags=["--skip-tests"])
    for one in expected:  # what is Helm's own
        assert one["metadata"]["labels"].pop("app.kubernetes.io/managed-by") == "Helm"
        assert one["metadata"]["labels"].pop("helm.sh/chart")
    assert objects[2:] == expected
    assert {one["metadata"].get("namespace", NAMESPACE) for one in objects} == {NAMESPACE}
    assert of_kind(objects, "Pod") == []


# --- notes ---


def notes(folder: Path, values: Json, release: str = "posecluster") -> str:
    """NOTES.txt, rendered as the text of an object: helm shows it only after an installation."""
    copied = shutil.copytree(CHART, folder / release)
    source = copied / "templates" / "NOTES.txt"
    template = source.read_text(encoding="utf-8")
    source.unlink()
    wrapped = '{{ define "notes" }}' + template + '{{ end }}\ntext: {{ include "notes" . | toJson }}\n'
    (copied / "templates" / "notes.yaml").write_text(wrapped, encoding="utf-8")
    command = ["template", release, str(copied), "--namespace", "home", "--values", "-"]
    text = helm(*command, "--show-only", "templates/notes.yaml", stdin=yaml.safe_dump(values))
    return str(yaml.safe_load(text)["text"])


def test_notes_say_what_to_do_next_and_what_helm_does_not(tmp_path: Path) -> None:
    text = notes(tmp_path, {})
    assert "watches all namespaces" in text
    (document,) = re.findall(r"<<EOF\n(.*?)   EOF", text, re.DOTALL)
    assert parse_example(yaml.safe_load(document)) == "pose"
    assert "kubectl apply --server-side --force-conflicts -f crds/" in text
    assert "kubectl delete crd poseclusters.posecluster.io" in text
    assert "helm test posecluster -n home" in text
    named = notes(tmp_path, {"operator": {"namespaces": ["one", "two"]}}, release="vision")
    assert "The operator vision-posecluster-operator" in named
    assert "watches one, two" in named
    assert "kubectl apply -n one -f -" in named


# --- dashboard and rules ---


def expressions(document: Json) -> Iterator[str]:
    for panel in document["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in document["templating"]["list"]:
        yield str(variable.get("definition", ""))


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    text = "\n".join(expressions(document))
    assert unknown(text) == set()
    unseen = {name for name in (inference() | operator()) if name.startswith("pose") and name not in text}
    # the operator's version and pace, the seconds of a reading: for a closer analysis, not for an overview
    assert unseen == {
        "posecluster_operator_build_info",
        "posecluster_operator_scrape_interval_seconds",
        "posecluster_operator_scrape_seconds",
    }
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids) > 20
    used = set(re.findall(r"\$(\w+)", text)) - {"__rate_interval"}
    assert used <= {variable["name"] for variable in document["templating"]["list"]}


def test_dashboard_and_rules_reach_the_cluster_as_they_are() -> None:
    values = {
        "grafanaDashboard": {"enabled": True, "annotations": {"folder": "pose"}},
        "prometheusRule": {"enabled": True, "runbook": "https://wiki.example/operations"},
    }
    objects = render(values)
    shown = one_of(objects, "ConfigMap")
    assert shown["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(shown["data"]["posecluster.json"]) == json.loads(DASHBOARD.read_text(encoding="utf-8"))
    rules = (CHART / "files" / "alerts.yaml").read_text(encoding="utf-8")
    expected = yaml.safe_load(rules.replace("docs/operations.md", "https://wiki.example/operations"))
    assert one_of(objects, "PrometheusRule")["spec"] == expected


# --- examples ---


def closed(schema: Json) -> Json:
    """The CRD's schema, refusing unknown keys as strict field validation does."""
    found = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes")}
    if "x-kubernetes-int-or-string" in schema:
        return {"type": ["integer", "string"]}
    if "properties" in found:
        found["properties"] = {name: closed(child) for name, child in found["properties"].items()}
        found["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = closed(found[key])
    return found


def parse_example(document: Json) -> str:
    """Its name, when schema and operator take it."""
    top = closed(crd.schema())
    names = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
    top["properties"] |= {"metadata": {"type": "object", "required": ["name"]}, **names}
    jsonschema_rs.validator_for(top).validate(document)
    metadata = document["metadata"] | {"namespace": "x", "uid": "x", "generation": 1, "resourceVersion": "1"}
    return parse(document | {"metadata": metadata}).name


def examples() -> dict[str, Json]:
    found = {}
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        for one in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if one["kind"] == "PoseCluster":
                found[path.name] = one
    return found


@pytest.mark.parametrize("name", examples())
def test_examples_fit_the_crd(name: str) -> None:
    document = examples()[name]
    assert parse_example(document) == document["metadata"]["name"]


@pytest.mark.control
@pytest.mark.parametrize("spec", [{"replica": 1}, {"replicas": "1"}, {"scaling": {"mode": "auto"}}], ids=str)
def test_control_a_wrong_example_is_seen(spec: Json) -> None:
    document = examples()["posecluster.yaml"] | {"spec": spec}
    with pytest.raises((jsonschema_rs.ValidationError, InvalidSpec)):
        parse_example(document)


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", "SECURITY.md", "charts/posecluster/README.md", "docs/ARCHITECTURE.md"],
)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\(([^)#]+)(?:#([^)]*))?\)", path.read_text(encoding="utf-8"))
    for target, anchor in links:
        if target.startswith("https://"):
            continue
        assert (path.parent / target).exists(), target
        if anchor:
            text = (path.parent / target).read_text(encoding="utf-8")
            titles = [
                re.sub(r"[^a-z -]", "", title.lower()) for title in re.findall(r"^#+ (.+)$", text, re.M)
            ]
            assert anchor in [title.replace(" ", "-") for title in titles]
    assert links or page == "docs/ARCHITECTURE.md"
