"""kind accepts kind-config.yaml: it reads and checks the file before it creates anything.

kind is real; docker is a stand-in without images, at which kind stops. So this needs no container engine.
"""

from pathlib import Path

import pytest
import yaml

from harness.scanners import FOLDER
from harness.server import ROOT
from harness.stand_ins import StandIns

CONFIG = ROOT / "kind-config.yaml"
NO_KIND = "open: no kind: make scanners builds it where there is Go"
# kind asks for docker's version and state, lists its containers, looks for the node image, then pulls it
DOCKER = 'case "$1" in info) echo "{}" ;; ps | -v) ;; *) exit 1 ;; esac'


def create(folder: Path, config: Path) -> tuple[list[str], str]:
    """What docker was asked, and what kind said, when kind was to make a cluster of this file."""
    if not (FOLDER / "bin" / "kind").is_file():
        pytest.skip(NO_KIND)
    programs = StandIns(folder)
    programs.add("docker", DOCKER)
    kubeconfig = folder / "kubeconfig"
    command = ("create", "cluster", "--name", "posecluster", "--config", str(config), "--wait", "180s")
    done = programs.run(str(FOLDER / "bin" / "kind"), *command, KUBECONFIG=str(kubeconfig))
    assert done.returncode != 0
    assert not kubeconfig.exists()
    return programs.calls, done.stderr


def test_kind_takes_the_file_as_far_as_pulling_the_node_image(tmp_path: Path) -> None:
    calls, said = create(tmp_path, CONFIG)
    assert 'Creating cluster "posecluster"' in said
    assert "failed to pull image" in said
    (pinned,) = {node["image"] for node in yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["nodes"]}
    assert f"docker pull {pinned}" in calls


@pytest.mark.control
@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("role: worker", "rolle: worker", "field rolle not found"),
        ("role: worker", "role: helper", "not a valid node role"),
        ("v1alpha4", "v1alpha9", "unknown apiVersion"),
        ("role: control-plane", "role: worker", "must have at least one control-plane node"),
    ],
)
def test_kind_refuses_a_planted_fault(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    planted = tmp_path / "planted.yaml"
    planted.write_text(CONFIG.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    calls, said = create(tmp_path / "programs", planted)
    assert complaint in said, said
    assert not any(" pull " in call for call in calls)
