"""Where model files come from: address, packages, rebuild; on loopback and with made-up packages."""

import hashlib
import io
import os
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from posecluster_inference.models import bundle, packages, sources
from posecluster_inference.models.catalogue import (
    CATALOGUE,
    Member,
    Model,
    Origin,
    Package,
    Pinned,
    Recipe,
    Registry,
)
from posecluster_inference.models.packages import PackageShelf, Unavailable

pytestmark = pytest.mark.unit

CONTENT = b"the released file" * 1000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def model_at(address: str) -> Model:
    accepted = (Pinned(sha256(CONTENT), len(CONTENT), Origin.OFFICIAL),)
    return Model("pose", "tiny", "tiny.task", accepted, address, None, None)


class Answers(BaseHTTPRequestHandler):
    """/right, /long (endless as far as the client knows), /gone, /silent."""

    sent = 0

    def do_GET(self) -> None:
        if self.path == "/silent":
            time.sleep(1)
            return
        self.send_response(404 if self.path == "/gone" else 200)
        self.end_headers()
        try:
            for _ in range(1000 if self.path == "/long" else 1):
                self.wfile.write(CONTENT)
                Answers.sent += len(CONTENT)
        except OSError:
            pass  # the client has had enough, as it should

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def store_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_address_gives_the_file(store_address: str) -> None:
    assert sources.OfficialAddress().fetch(model_at(f"{store_address}/right")) == CONTENT


def test_download_is_bounded(store_address: str) -> None:
    Answers.sent = 0
    content = sources.OfficialAddress().fetch(model_at(f"{store_address}/long"))
    assert len(content) == len(CONTENT) + 1
    assert Answers.sent < 900 * len(CONTENT)  # the rest, some MB at most, is what sockets buffer


def test_unreachable_missing_and_silent_stores_are_given_up_soon(store_address: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refuses
        refused = f"http://127.0.0.1:{taken.getsockname()[1]}/right"
        for address in (refused, f"{store_address}/gone", f"{store_address}/silent"):
            begins = time.monotonic()
            with pytest.raises(Unavailable, match="cannot be reached"):
                sources.OfficialAddress(connect_seconds=0.3).fetch(model_at(address))
            assert time.monotonic() - begins < 0.9


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
    carrying = sources.CarryingPackage(shelf)
    model = replace(model_at(""), carried=CARRIED)
    assert carrying.fetch(model) == carrying.fetch(model) == CONTENT
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

    rebuild = sources.Rebuild(PackageShelf(tmp_path, registries), tmp_path, child)
    made = rebuild.fetch(replace(model_at(""), recipe=recipe))
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
    path = Path(os.environ.get("POSECLUSTER_MODEL_DIR") or root / "models") / full.file_name
    if not path.is_file():
        pytest.skip(f"{path} is not here: run `posecluster-inference models fetch`")
    with zipfile.ZipFile(path) as archive:
        networks = [archive.read(name) for name in (bundle.DETECTOR_MEMBER, bundle.LANDMARKS_MEMBER)]
    assert sha256(bundle.pack(*networks)) == full.accepted[0].sha256
    assert networks[0] == bundle.with_end_record(networks[0][:-22])


def test_order_of_sources(tmp_path: Path) -> None:
    for model in CATALOGUE:
        names = [
            type(place).__name__
            for place in sources.usual(model, [tmp_path], PackageShelf(tmp_path), tmp_path)
        ]
        package = ["CarryingPackage"] if model.variant == "full" else []
        assert names == ["LocalFolder", "OfficialAddress", *package, "Rebuild"]
    assert sources.chosen_folders("a", {"POSECLUSTER_MODEL_SOURCE": "b"}) == [Path("a")]
    assert sources.chosen_folders(None, {"POSECLUSTER_MODEL_SOURCE": "b"}) == [Path("b")]
    assert sources.chosen_folders(None, {}) == []
