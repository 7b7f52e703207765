"""The commands that `make images`, `kind-up`, `kind-down` and `deploy` run, recorded by stand-in programs."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from harness.server import ROOT
from harness.stand_ins import StandIns, shown

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
SERVER, OPERATOR = (f"posecluster-{name}:{VERSION}" for name in ("inference", "operator"))
NO_DAEMON = 'if [ "$1" = info ]; then exit 1; fi'
CLUSTER_IS_THERE = 'if [ "$1 $2" = "get clusters" ]; then echo posecluster; fi'
CONTEXTS = 'if [ "$2" = get-contexts ]; then case "$3" in kind-posecluster | elsewhere) echo "$3" ;; esac; fi'


@pytest.fixture
def programs(tmp_path: Path) -> StandIns:
    return StandIns(tmp_path)


def arguments(call: str) -> str:
    """A call without what changes with the commit, the minute and the run."""
    changing = {r"REVISION=\S+": "REVISION=r", r"deployed=\S+": "deployed=t", r"/[^\s:]+\.tar": "FILE"}
    for pattern, constant in changing.items():
        call = re.sub(pattern, constant, call)
    return call


def builds(engine: str, *, flags: str = "", name: str) -> str:
    arguments = f"--build-arg VERSION={VERSION} --build-arg REVISION=r --file {name}/Dockerfile"
    return f"{engine} build {flags}{arguments} --tag posecluster-{name}:{VERSION} ."


@pytest.mark.parametrize(
    ("there", "chosen", "flags"),
    [
        ({"docker": "", "podman": "", "buildah": ""}, "docker", ""),
        ({"docker": NO_DAEMON, "podman": "", "buildah": ""}, "podman", ""),
        ({"docker": NO_DAEMON, "buildah": ""}, "buildah", "--isolation chroot --layers --format docker "),
    ],
)
def test_images_are_built_by_the_first_engine_that_works(
    programs: StandIns, there: dict[str, str], chosen: str, flags: str
) -> None:
    for name, lines in there.items():
        programs.add(name, lines)
    done = programs.run("make", "images")
    assert done.returncode == 0, done.stderr
    built = [arguments(call) for call in programs.calls if " build " in call]
    assert built == [builds(chosen, flags=flags, name=name) for name in ("inference", "operator")]


def test_engine_base_image_and_flags_are_chosen_by_variables(programs: StandIns) -> None:
    programs.add("docker")
    programs.add("podman")
    base = "registry.example/python:3.12-slim@sha256:0"
    done = programs.run("make", "images", "ENGINE=podman", f"BASE_IMAGE={base}", "BUILD_FLAGS=--network host")
    assert done.returncode == 0, done.stderr
    flags = f"--network host --build-arg BASE_IMAGE={base} "
    names = ("inference", "operator")
    assert [*map(arguments, programs.calls)] == [builds("podman", flags=flags, name=name) for name in names]


def test_a_command_may_build_in_place_of_an_engine(programs: StandIns) -> None:
    programs.add("builder")
    assert programs.run("make", "images", "BUILD=builder --quiet", "BASE_IMAGE=base").returncode == 0
    assert [*map(arguments, programs.calls)] == [
        f"builder --quiet {name}/Dockerfile . posecluster-{name}:{VERSION}"
        f" VERSION={VERSION} REVISION=r BASE_IMAGE=base"
        for name in ("inference", "operator")
    ]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "needs docker (with its daemon running), podman or buildah"),
        ({"ENGINE": "buildah"}, "ENGINE=buildah does not work here"),
        ({"ENGINE": "nerdctl"}, "use docker, podman or buildah"),
    ],
)
def test_without_an_engine_there_is_a_message(
    programs: StandIns, variables: dict[str, str], message: str
) -> None:
    programs.add("docker", NO_DAEMON)
    done = programs.run("scripts/images", **variables)
    assert done.returncode == 1
    assert message in done.stderr


def test_a_build_that_fails_ends_it(programs: StandIns) -> None:
    programs.add("docker", 'if [ "$1" = build ]; then exit 3; fi')
    assert programs.run("scripts/images").returncode == 3
    assert sum(" build " in call for call in programs.calls) == 1


def test_the_kind_cluster_is_made_once(programs: StandIns) -> None:
    for name in ("docker", "kubectl", "kind"):
        programs.add(name)
    create = "kind create cluster --name posecluster --config kind-config.yaml --wait 180s"
    assert programs.run("make", "kind-up").returncode == 0
    assert create in programs.calls
    assert programs.run("make", "kind-up", "KIND_IMAGE=kindest/node:v1.35.8").returncode == 0
    assert f"{create} --image kindest/node:v1.35.8" in programs.calls
    programs.add("kind", CLUSTER_IS_THERE)
    assert programs.run("make", "kind-up").returncode == 0
    kind = [call for call in programs.calls if call.startswith("kind ")]
    assert kind == ["kind get clusters", "kind export kubeconfig --name posecluster"]
    assert programs.run("make", "kind-down").returncode == 0
    assert programs.calls[-1] == "kind delete cluster --name posecluster"


def test_kind_gets_images_by_the_engine_that_built_them(programs: StandIns) -> None:
    programs.add("kind", 'if [ "$1" = load ]; then echo "$KIND_EXPERIMENTAL_PROVIDER" >&2; fi')
    programs.add("docker")
    assert programs.run("scripts/kind", "load", SERVER).returncode == 0
    assert programs.calls[-1] == f"kind load docker-image {SERVER} --name posecluster"
    programs.add("docker", NO_DAEMON)
    programs.add("podman")
    done = programs.run("scripts/kind", "load", SERVER)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "podman"
    assert [*map(arguments, programs.calls[-2:])] == [
        f"podman push --quiet {SERVER} docker-archive:FILE:{SERVER}",
        "kind load image-archive FILE --name posecluster",
    ]


@pytest.mark.parametrize(
    ("nodes", "flag"),
    [
        (("posecluster-worker2", "posecluster-control-plane", "posecluster-worker"), "-worker2,{}-worker"),
        (("posecluster-control-plane",), ""),
    ],
)
def test_only_workers_get_images(programs: StandIns, nodes: tuple[str, ...], flag: str) -> None:
    lines = "; ".join(f"echo {name}" for name in nodes)
    programs.add("kind", f'if [ "$1 $2" = "get nodes" ]; then {lines}; fi')
    programs.add("docker")
    done = programs.run("make", "kind-images")
    assert done.returncode == 0, done.stderr
    end = f" --nodes posecluster{flag.format('posecluster')}" if flag else ""
    assert [call for call in programs.calls if call.startswith("kind load")] == [
        f"kind load docker-image {image} --name posecluster{end}" for image in (SERVER, OPERATOR)
    ]


def test_the_pinned_node_image_is_of_the_kubernetes_that_is_tested() -> None:
    nodes = yaml.safe_load((ROOT / "kind-config.yaml").read_text(encoding="utf-8"))["nodes"]
    (image,) = {node["image"] for node in nodes}
    found = re.fullmatch(r"kindest/node:v(1\.\d+)\.\d+@sha256:[0-9a-f]{64}", image)
    assert found, image
    minor = found.group(1)
    assert f"kubernetes={minor}.x" in (ROOT / "scripts" / "envtest").read_text(encoding="utf-8")
    assert f"Kubernetes {minor} is tested" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_deploy_builds_loads_installs_and_waits(programs: StandIns) -> None:
    for name, lines in {"docker": "", "kind": "", "helm": "", "kubectl": CONTEXTS}.items():
        programs.add(name, lines)
    done = programs.run("make", "deploy")
    assert done.returncode == 0, done.stderr
    calls = [arguments(call) for call in programs.calls if not call.startswith("docker info")]
    kubectl = "kubectl --context kind-posecluster"
    assert calls == [
        "kubectl config get-contexts kind-posecluster -o name",
        f"{kubectl} --namespace default get deployment/pose-pose --ignore-not-found --output name",
        builds("docker", name="inference"),
        "kind get nodes --name posecluster",
        f"kind load docker-image {SERVER} --name posecluster",
        builds("docker", name="operator"),
        "kind get nodes --name posecluster",
        f"kind load docker-image {OPERATOR} --name posecluster",
        f"{kubectl} apply --server-side --force-conflicts -f crds/poseclusters.yaml",
        "helm --kube-context kind-posecluster upgrade --install posecluster charts/posecluster"
        " --namespace posecluster --create-namespace"
        " --set-string operator.podAnnotations.posecluster\\.io/deployed=t --wait --timeout 3m",
        f"{kubectl} --namespace default apply -f examples/posecluster.yaml",
        f"{kubectl} --namespace default wait --for condition=Ready --timeout 180s"
        " -f examples/posecluster.yaml",
    ]
    assert f"{kubectl} --namespace default port-forward service/pose-pose 8080:80 &" in done.stdout
    picture = re.search(r"--data-binary @(\S+) http://127.0.0.1:8080/v1/detect", done.stdout)
    assert picture is not None
    assert (ROOT / picture.group(1)).is_file()


def test_deploy_replaces_pods_that_were_there(programs: StandIns) -> None:
    there = f'{CONTEXTS}\ncase "$*" in *" get deployment/pose-pose "*) echo deployment/pose-pose ;; esac'
    for name, lines in {"docker": "", "kind": "", "helm": "", "kubectl": there}.items():
        programs.add(name, lines)
    assert programs.run("scripts/deploy").returncode == 0
    ends = [call.removeprefix("kubectl --context kind-posecluster --namespace ") for call in programs.calls]
    assert ends[-3:] == [
        "default rollout restart deployment/pose-pose",
        "default rollout status deployment/pose-pose --timeout 180s",
        "default wait --for condition=Ready --timeout 180s -f examples/posecluster.yaml",
    ]


def test_deploy_into_another_cluster_takes_its_context_and_load(programs: StandIns) -> None:
    for name, lines in {"buildah": "", "load": "", "helm": "", "kubectl": CONTEXTS}.items():
        programs.add(name, lines)
    values = "VALUES=--set operator.replicas=2"
    done = programs.run("make", "deploy", "CONTEXT=elsewhere", "LOAD=load --now", values, "NAMESPACE=there")
    assert done.returncode == 0, done.stderr
    loads = [call for call in programs.calls if call.startswith("load ")]
    assert loads == [f"load --now {SERVER}", f"load --now {OPERATOR}"]
    assert any("--create-namespace --set operator.replicas=2 --set-string" in call for call in programs.calls)
    assert all("elsewhere" in call for call in programs.calls if call.startswith(("helm", "kubectl")))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"CONTEXT": "nowhere"}, "there is no context nowhere: run make kind-up"),
        ({"CONTEXT": "elsewhere"}, "give LOAD="),
    ],
)
def test_deploy_stops_before_it_touches_another_cluster(
    programs: StandIns, variables: dict[str, str], message: str
) -> None:
    for name, lines in {"docker": "", "kind": "", "helm": "", "kubectl": CONTEXTS}.items():
        programs.add(name, lines)
    done = programs.run("scripts/deploy", **variables)
    assert done.returncode == 1
    assert message in done.stderr
    assert [call.split()[1] for call in programs.calls] == ["config"]


def test_an_image_that_cannot_be_loaded_ends_deploy(programs: StandIns) -> None:
    failing = 'if [ "$1" = load ]; then exit 4; fi'
    for name, lines in {"docker": "", "kind": failing, "helm": "", "kubectl": CONTEXTS}.items():
        programs.add(name, lines)
    assert programs.run("scripts/deploy").returncode == 4
    assert not [call for call in programs.calls if call.startswith("helm") or " apply " in call]


@pytest.mark.parametrize("target", ["images", "kind-up", "kind-images", "kind-down", "deploy"])
def test_a_dry_run_shows_the_commands_and_runs_none(programs: StandIns, target: str) -> None:
    for name, lines in {"docker": "", "kind": "", "helm": "", "kubectl": CONTEXTS}.items():
        programs.add(name, lines)
    assert programs.run("make", target).returncode == 0
    real = [call for call in map(arguments, programs.calls) if not _only_looks(call)]
    done = programs.run("make", target, "DRY_RUN=1")
    assert done.returncode == 0, done.stderr
    assert [call for call in programs.calls if not _only_looks(call)] == []
    would = [arguments(call).replace("'", "").replace("\\\\", "\\") for call in shown(done.stderr)]
    assert len(would) == len(real) > 0
    loads = [call for call in would if call.startswith("scripts/kind load")]
    assert [call for call in would if call not in loads] == [
        call for call in real if not call.startswith("kind load")
    ]


@pytest.mark.parametrize("target", ["images", "kind-up", "kind-images", "kind-down", "deploy"])
def test_a_dry_run_needs_none_of_the_programs(programs: StandIns, target: str) -> None:
    """In CI there may be no kind, no engine and no cluster: what would be run is shown all the same."""
    done = programs.run("make", target, "DRY_RUN=1")
    assert done.returncode == 0, done.stderr
    assert shown(done.stderr)
    assert done.stdout == ""
    for engine in ("podman", "buildah"):
        done = programs.run("make", target, "DRY_RUN=1", f"ENGINE={engine}")
        assert done.returncode == 0, done.stderr


def _only_looks(call: str) -> bool:
    return bool(re.match(r"docker info|kind get|kubectl config|kubectl .* get deployment/", call))
