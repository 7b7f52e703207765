"""Images for several architectures (`make images PLATFORMS=...`), recorded by stand-in programs."""

import re
import tomllib
from pathlib import Path

import pytest

from harness.server import ROOT
from harness.stand_ins import StandIns

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
SERVER, OPERATOR = (f"posecluster-{name}:{VERSION}" for name in ("inference", "operator"))
PLATFORMS = "linux/amd64,linux/arm64"
BUILDAH = "buildah build --isolation chroot --layers --format docker"


@pytest.fixture
def programs(tmp_path: Path) -> StandIns:
    return StandIns(tmp_path)


@pytest.mark.parametrize(
    ("engine", "build", "kept"),
    [
        ("docker", "docker buildx build", "--tag {image} --load ."),
        ("podman", "podman build", "--manifest {image} ."),
        ("buildah", BUILDAH, "--manifest {image} ."),
    ],
)
def test_one_image_is_built_for_several_platforms(
    programs: StandIns, engine: str, build: str, kept: str
) -> None:
    programs.add(engine)
    done = programs.run("make", "images", f"PLATFORMS={PLATFORMS}", "BUILD_FLAGS=--network host")
    assert done.returncode == 0, done.stderr
    flags = f"--network host --build-arg VERSION={VERSION} --build-arg REVISION=r"
    assert [re.sub(r"REVISION=\S+", "REVISION=r", call) for call in programs.calls if " build " in call] == [
        f"{build} {flags} --file {name}/Dockerfile --platform {PLATFORMS} {kept.format(image=image)}"
        for name, image in (("inference", SERVER), ("operator", OPERATOR))
    ]
    if engine != "docker":  # a name that is taken would not become the list of both images
        calls = [call for call in programs.calls if SERVER in call]
        assert [call.split()[1] for call in calls] == ["rmi", "build"]


@pytest.mark.parametrize("engine", ["docker", "podman", "buildah"])
def test_images_for_several_platforms_are_pushed(programs: StandIns, engine: str) -> None:
    programs.add(engine)
    registry = "registry.example/team"
    done = programs.run("make", "images", f"PLATFORMS={PLATFORMS}", f"PUSH={registry}")
    assert done.returncode == 0, done.stderr
    if engine == "docker":
        pushed = [call for call in programs.calls if " build " in call]
        assert [
            call.endswith(f"--tag {registry}/{image} --push .")
            for call, image in zip(pushed, (SERVER, OPERATOR), strict=True)
        ] == [True, True]
    else:
        pushed = [call for call in programs.calls if " manifest push " in call]
        assert pushed == [
            f"{engine} manifest push --all {image} docker://{registry}/{image}"
            for image in (SERVER, OPERATOR)
        ]


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        ([], {"PUSH": "registry.example"}, "PUSH needs PLATFORMS"),
        ([], {"PLATFORMS": PLATFORMS, "BUILD": "builder"}, "not BUILD"),
        (["--load", "true"], {"PLATFORMS": PLATFORMS}, "leave it out to load them"),
        ([], {"PLATFORMS": PLATFORMS}, "needs docker's buildx plugin"),
    ],
)
def test_what_cannot_be_built_for_several_platforms_is_refused(
    programs: StandIns, arguments: list[str], variables: dict[str, str], message: str
) -> None:
    programs.add("docker", 'if [ "$1" = buildx ]; then exit 1; fi')
    done = programs.run("scripts/images", *arguments, **variables)
    assert done.returncode == 1
    assert message in done.stderr
    assert not [call for call in programs.calls if " build " in call]


def test_a_dry_run_shows_the_builds_for_several_platforms(programs: StandIns) -> None:
    for engine in ("docker", "podman", "buildah"):
        done = programs.run(
            "make", "images", "DRY_RUN=1", f"ENGINE={engine}", f"PLATFORMS={PLATFORMS}", "PUSH=r.example"
        )
        assert done.returncode == 0, done.stderr
        assert (
            sum(
                f"--platform {PLATFORMS.replace(',', chr(92) + ',')}" in line
                or f"--platform {PLATFORMS}" in line
                for line in done.stderr.splitlines()
            )
            == 2
        )
    assert programs.calls == []


def test_no_manifest_names_an_architecture() -> None:
    folders = ("examples", "charts", "deploy", "crds")
    applied = [ROOT / "kind-config.yaml"]
    applied += [path for folder in folders for path in (ROOT / folder).rglob("*.*") if path.is_file()]
    assert len(applied) > 20
    named = re.compile(r"kubernetes\.io/arch|\b(amd64|x86_64|arm64|aarch64)\b")
    assert [path.name for path in applied if named.search(path.read_text(encoding="utf-8"))] == []
