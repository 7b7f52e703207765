"""Manifests are read as users write them, and errors say what to do."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from posecluster_operator.commands.manifest import read_manifest
from posecluster_operator.errors import InvalidInput
from posecluster_operator.resource.posecluster import ScalingMode

PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
pytestmark = pytest.mark.unit

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}


def cluster(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "posecluster.io/v1alpha1",
        "kind": "PoseCluster",
        "metadata": {"name": "a"},
        "spec": spec,
    }


def written(folder: Path, *documents: Any) -> Path:
    path = folder / "m.yaml"
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_read(path: Path) -> None:
    assert read_manifest(path).name.startswith("pose")


def test_the_spec_is_read_with_its_defaults_and_other_kinds_are_passed_over(tmp_path: Path) -> None:
    found = read_manifest(written(tmp_path, SECRET, None, cluster(replicas=3, scaling={"mode": "Fixed"})))
    assert (found.name, found.spec.replicas, found.spec.scaling.mode) == ("a", 3, ScalingMode.FIXED)
    assert found.spec.scaling.objective.latency_milliseconds == 250


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ([], "has no PoseCluster of posecluster.io/v1alpha1: it must have exactly one"),
        ([SECRET], "has no PoseCluster"),
        ([cluster() | {"apiVersion": "posecluster.io/v9"}], "has no PoseCluster"),
        ([["a"], "b", 3], "has no PoseCluster"),
        ([cluster(), cluster()], "has 2 PoseClusters"),
        ([cluster() | {"metadata": None}], "metadata.name is missing"),
        ([cluster() | {"metadata": {"name": 7}}], "metadata.name is missing"),
        ([cluster() | {"metadata": {"name": "A_b"}}], "metadata.name must be a DNS label"),
        ([cluster() | {"spec": [1]}], "spec must be an object"),
        ([cluster(replicas="x")], "spec.replicas must be a whole number"),
        ([cluster(scaling={"minReplicas": 9, "maxReplicas": 3})], "minReplicas must not exceed"),
        (
            [cluster(scaling={"objective": {"latencyMs": 9}})],
            "spec.scaling.objective has no field 'latencyMs'",
        ),
        ([cluster(scalling={})], "spec has no field 'scalling'"),
        ([cluster(tolerations=[{"key": "a"}, {"keys": "b"}])], "spec.tolerations has no field 'keys'"),
        (
            [cluster(affinity={"nodeAffinity": {PREFERRED: [{"preference": {"matchFields": []}}]}})],
            f"spec.affinity.nodeAffinity.{PREFERRED}.preference has no field 'matchFields'",
        ),
    ],
)
def test_errors_in_a_manifest_name_the_file(tmp_path: Path, documents: list[Any], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_manifest(written(tmp_path, *documents))
    assert said in str(refused.value)
    assert "m.yaml" in str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        b"a: [",
        b": : :\n - [",
        b"\xff\xfe\x00\xd8",
        b"d: 2026-99-99",
        b"[" * 1_500,
        b"? [a]\n: b\n? {b: c}\n: d",
    ],
)
def test_invalid_yaml_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=r"m\.yaml is not valid YAML"):
        read_manifest(path)


def test_a_file_that_is_not_there_or_far_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot read"):
        read_manifest(tmp_path / "none.yaml")
    with pytest.raises(InvalidInput, match="cannot read"):
        read_manifest(tmp_path)
    path = tmp_path / "m.yaml"
    path.write_bytes(b"#" * 2_000_000)
    with pytest.raises(InvalidInput, match="more than 1024 KiB"):
        read_manifest(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifests")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(spec=JSON)
def test_any_spec_is_read_or_refused(folder: Path, spec: Any) -> None:
    try:
        found = read_manifest(written(folder, cluster() | {"spec": spec}))
    except InvalidInput as error:
        assert "m.yaml" in str(error)  # noqa: PT017
    else:
        assert found.name == "a"
