"""Check 40, manifests: what the chart renders and the operator makes is sound, and fits every Kubernetes.

They follow checkov's rules, and are valid by the schemas of the oldest Kubernetes that the chart supports and
of the newest one. Objects of prometheus-operator have no schema there; its own CRDs check them.
"""

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from harness import scanners
from harness.chart import CHART, Json, one_of, render
from harness.recorder import RecordFigure
from harness.scanners import Finding
from harness.server import ROOT

pytestmark = pytest.mark.timeout(300)  # scanners start slowly, more so beside other tests

PARTS = {
    part: {"enabled": True} for part in ("podMonitor", "prometheusRule", "grafanaDashboard", "networkPolicy")
}
DIGEST = f"sha256:{'a' * 64}"
RENDERED: dict[str, Json] = {
    "everything": PARTS | {"operator": {"replicas": 2}},
    "namespaced": {"operator": {"namespaces": ["one", "two"]}},
}
GOLDEN = sorted(
    set((ROOT / "tests" / "golden").glob("*.yaml")) - set(ROOT.glob("tests/golden/explanations*"))
)
DEPLOY = sorted((ROOT / "deploy").glob("*.yaml"))
NO_SCHEMA = {"PodMonitor", "PrometheusRule"}
# kinds that need a newer Kubernetes than the oldest: the chart does not render them for older ones
NEW = dict.fromkeys(("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"), "1.30")


_OPERATOR, _TEST = "Deployment posecluster-operator", "Pod posecluster-operator-test"
_SERVER = "Deployment demo-pose"
_PINNED, _PLANTED = "Deployment pinned", "Deployment planted"  # see `found`
_DIGEST = "digests are values of the chart; a checkout's images are built and have none to name"
_PULL = "tags are versions and never move; images loaded into a node must do without a registry"
_TOKEN = "it calls the API server; its rights are exactly those that it uses"
_CPU = "a limit would throttle what renews the Lease; it has a CPU request and a memory limit"
_ENDS = "it runs once and ends; nothing is sent to it"
_USER = "platforms such as OpenShift assign user ids; the images name user 10001, and pods never run as root"
_HERE = "golden files have no namespace of their own"
# findings that stand, and why
EXCUSED: dict[Finding, str] = {
    Finding("CKV_K8S_11", _OPERATOR): _CPU,
    Finding("CKV_K8S_15", _OPERATOR): _PULL,
    Finding("CKV_K8S_38", _OPERATOR): _TOKEN,
    Finding("CKV_K8S_40", _OPERATOR): _USER,
    Finding("CKV_K8S_43", _OPERATOR): _DIGEST,
    Finding("CKV_K8S_8", _TEST): _ENDS,
    Finding("CKV_K8S_9", _TEST): _ENDS,
    Finding("CKV_K8S_11", _TEST): _ENDS,
    Finding("CKV_K8S_15", _TEST): _PULL,
    Finding("CKV_K8S_38", _TEST): _TOKEN,
    Finding("CKV_K8S_40", _TEST): _USER,
    Finding("CKV_K8S_43", _TEST): _DIGEST,
    Finding("CKV2_K8S_6", _TEST): _ENDS,
    Finding("CKV_K8S_15", _SERVER): _PULL,
    Finding("CKV_K8S_40", _SERVER): _USER,
    Finding("CKV_K8S_43", _SERVER): _DIGEST,
    Finding("CKV_K8S_21", _SERVER): _HERE,
    Finding("CKV_K8S_21", "Service demo-pose"): _HERE,
    Finding("CKV_K8S_21", "Service demo-pose-pods"): _HERE,
}


def written(folder: Path, objects: dict[str, list[Json]]) -> list[Path]:
    """A file for each of these lists."""
    paths = []
    for name, documents in objects.items():
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return paths


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every manifest: rendered, made by the operator, and ready to apply."""
    # the CRD is in deploy/install.yaml
    rendered = {name: render(values) for name, values in RENDERED.items()}
    return [*written(tmp_path_factory.mktemp("manifests"), rendered), *GOLDEN, *DEPLOY]


def _privileged(pod: Json) -> None:
    pod["containers"][0]["securityContext"]["privileged"] = True


def _writable(pod: Json) -> None:
    pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False


def _host(pod: Json) -> None:
    pod["hostNetwork"] = True


def _unbounded(pod: Json) -> None:
    del pod["containers"][0]["resources"]["limits"]["memory"]


PLANTS: dict[str, Callable[[Json], None]] = {
    "CKV_K8S_16": _privileged,
    "CKV_K8S_22": _writable,
    "CKV_K8S_19": _host,
    "CKV_K8S_13": _unbounded,
}


@pytest.fixture(scope="module")
def found(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[set[Finding], int]:
    """What checkov finds, and how many checks passed: one run, also of what is planted; it starts slowly."""
    pinned = one_of(render({"operator": {"image": {"digest": DIGEST}}}), "Deployment")
    planted = copy.deepcopy(pinned)
    pinned["metadata"]["name"], planted["metadata"]["name"] = "pinned", "planted"
    for plant in PLANTS.values():
        plant(planted["spec"]["template"]["spec"])
    more = written(tmp_path_factory.mktemp("planted"), {"pinned": [pinned], "planted": [planted]})
    findings, passed = scanners.checkov("kubernetes", [*files, *more])
    return set(findings), passed


@pytest.mark.acceptance(40)
def test_checkov_finds_nothing_in_manifests(
    found: tuple[set[Finding], int], record_figure: RecordFigure
) -> None:
    ours = {one for one in found[0] if one.subject not in (_PINNED, _PLANTED)}
    record_figure("manifest rules failed", len(ours - set(EXCUSED)), bar="0", sample=found[1])
    assert ours - set(EXCUSED) == set()
    assert ours == set(EXCUSED), "some do not fail now: take them off"
    assert found[1] > 500


@pytest.mark.acceptance(40)
def test_an_image_with_a_digest_passes_checkov(found: tuple[set[Finding], int]) -> None:
    excused = {one.rule for one in EXCUSED if one.subject == _OPERATOR}
    assert {one.rule for one in found[0] if one.subject == _PINNED} == excused - {"CKV_K8S_15", "CKV_K8S_43"}


@pytest.mark.acceptance(40)
@pytest.mark.control
@pytest.mark.parametrize("rule", PLANTS)
def test_checkov_finds_a_planted_fault(found: tuple[set[Finding], int], rule: str) -> None:
    assert Finding(rule, _PLANTED) in found[0]
    assert Finding(rule, _PINNED) not in found[0]


def versions() -> tuple[str, str]:
    """The oldest Kubernetes that the chart takes, and the newest whose schemas there are."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    oldest = re.match(r">=(\d+\.\d+)\.", chart["kubeVersion"])
    assert oldest is not None
    ask = "import kubernetes_validate; print(kubernetes_validate.latest_version())"
    newest = scanners.run(scanners.scanner("scan", "python"), "-c", ask).stdout
    return oldest.group(1), newest.strip().rpartition(".")[0]


def validate(version: str, documents: list[Json], folder: Path) -> tuple[int, list[str]]:
    """How many objects are valid, and the errors of those that are not; only `NO_SCHEMA` may be unknown."""
    program = scanners.scanner("scan", "kubernetes-validate")
    (file,) = written(folder, {"all": documents})  # it reads the schemas again for each file
    done = scanners.run(program, "--strict", "--kubernetes-version", version, file)
    lines = (done.stdout + done.stderr).splitlines()
    unknown = [line for line in lines if "Couldn't find schema" in line]
    assert {line.split("for kind ")[1].split()[0] for line in unknown} <= NO_SCHEMA, unknown
    wrong = [line for line in lines if line.startswith("ERROR")]
    assert bool(wrong) == bool(done.returncode), done.stderr
    return sum(" passed for resource " in line for line in lines), wrong


@pytest.mark.acceptance(40)
@pytest.mark.parametrize("end", [0, 1], ids=["oldest", "newest"])
def test_manifests_are_valid_for_every_kubernetes(
    files: list[Path], tmp_path: Path, record_figure: RecordFigure, end: int
) -> None:
    version = versions()[end]
    everything = [
        one for path in files for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one
    ]
    documents = [one for one in everything if NEW.get(one["kind"], version) <= version]
    valid, wrong = validate(version, documents, tmp_path)
    record_figure(f"objects not valid for {version}", len(wrong), bar="0", sample=valid)
    assert wrong == []
    assert {"CustomResourceDefinition", "Deployment", "Pod", "NetworkPolicy"} <= {
        one["kind"] for one in documents
    }
    assert valid == sum(one["kind"] not in NO_SCHEMA for one in documents) > 50
    assert versions()[0] < versions()[1]


@pytest.mark.acceptance(40)
@pytest.mark.control
@pytest.mark.parametrize("end", [0, 1], ids=["oldest", "newest"])
def test_an_invalid_manifest_is_found(tmp_path: Path, end: int) -> None:
    unknown, missing = (copy.deepcopy(one_of(render(), "Deployment")) for _ in range(2))
    unknown["spec"]["replica"] = 1
    del missing["spec"]["selector"]
    valid, wrong = validate(versions()[end], [unknown, missing], tmp_path)
    assert valid == 0
    assert ["replica" in wrong[0], "selector" in wrong[1]] == [True, True]
