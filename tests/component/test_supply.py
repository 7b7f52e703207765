"""Check 40, supply: what the images contain is pinned by hash, free of known vulnerabilities, and listed."""

import base64
import hashlib
import importlib
import json
import re
import sys
import tarfile
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness import scanners
from harness.dockerfile import broken_promises
from harness.recorder import RecordFigure
from harness.server import ROOT
from posecluster_inference.models.catalogue import CATALOGUE
from posecluster_inference.server.http.pages import VIEWER, VIEWER_FILES, VIEWER_FOLDER

pytestmark = pytest.mark.timeout(300)  # scanners start slowly, more so beside other tests

IMAGES = {"inference": ("inference", "otel"), "operator": ("operator",)}  # and the lock files of each
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
# has known weaknesses (CVE-2024-23334 and more): what a look-up that works must find
WEAK = "aiohttp==3.8.1"
UNREACHABLE = (
    "open: no database of known weaknesses can be reached from here; run this test where PyPI's or OSV's can"
)
_VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(str(JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read()) or "") or 0)
"""


def pins(lock: Path) -> dict[str, str]:
    """name -> version of the packages that this lock file installs with this Python."""
    found = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        if re.match(r"[a-z0-9]", line):
            requirement = Requirement(line.removesuffix(" \\"))
            if requirement.marker is None or requirement.marker.evaluate():
                found[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return found


def unhashed(text: str) -> list[str]:
    """Pins of a lock file that no hash follows."""
    lines = text.splitlines()
    return [
        line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if re.match(r"[a-z0-9]", line) and not re.match(r"    --hash=sha256:[0-9a-f]{64}", after)
    ]


@pytest.mark.acceptance(40)
@pytest.mark.parametrize("image", IMAGES)
def test_a_dockerfile_keeps_its_promises(image: str) -> None:
    text = (ROOT / image / "Dockerfile").read_text(encoding="utf-8")
    assert broken_promises(text, VERSION) == []


@pytest.mark.acceptance(40)
@pytest.mark.control
@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("python:3.11-slim", "python:latest", "BASE_IMAGE"),
        ("python:3.11-slim", "python", "BASE_IMAGE"),
        (f"VERSION={VERSION}", "VERSION=0.0.9", "VERSION"),
        ("FROM ${BASE_IMAGE} AS runtime", "FROM debian:12 AS runtime", "FROM debian:12"),
        ("--require-hashes ", "", "without hashes"),
        ("USER 10001:10001", "USER 999:999", "USER"),
        ("USER 10001:10001", "USER posecluster", "USER"),
        ("USER 54321:54321\n", "", "owns nothing"),
        ('CMD ["run"]', "CMD run", "CMD"),
        ("ENV PATH", "ENV PYTHONDONTWRITEBYTECODE=1\nENV PATH", "PYTHONDONTWRITEBYTECODE"),
        ("org.opencontainers.image.licenses", "licenses", "licenses"),
    ],
)
def test_a_broken_promise_is_found(old: str, new: str, complaint: str) -> None:
    text = (ROOT / "operator" / "Dockerfile").read_text(encoding="utf-8")
    assert old in text
    found = broken_promises(text.replace(old, new), VERSION)
    assert any(complaint in one for one in found), found


@pytest.mark.acceptance(40)
def test_every_pin_of_a_lock_file_has_its_hash(record_figure: RecordFigure) -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    missing = [line for lock in locks for line in unhashed(lock.read_text(encoding="utf-8"))]
    record_figure("pins without a hash", len(missing), bar="0", sample=sum(len(pins(lock)) for lock in locks))
    assert missing == []
    assert {f"{name}.txt" for names in IMAGES.values() for name in names} <= {lock.name for lock in locks}
    assert all(pinned.sha256 for model in CATALOGUE for pinned in model.accepted)


@pytest.mark.acceptance(40)
@pytest.mark.control
def test_a_pin_without_a_hash_is_found() -> None:
    text = (ROOT / "requirements" / "operator.txt").read_text(encoding="utf-8")
    assert unhashed(text + "planted==1.0\n    # via nobody\n") == ["planted==1.0"]


def audit(folder: Path, lines: str, service: str) -> list[dict[str, Any]]:
    """What pip-audit says of each requirement: its weaknesses, or why it was passed over; [] if it failed."""
    file = folder / "requirements.txt"
    file.write_text(lines, encoding="utf-8")
    flags = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--timeout", "10")
    program = scanners.scanner("scan", "pip-audit")
    done = scanners.run(program, *flags, "--vulnerability-service", service, "--requirement", file)
    found: list[dict[str, Any]] = json.loads(done.stdout or "{}").get("dependencies", [])
    return found


@pytest.mark.acceptance(40)
def test_no_pin_has_a_known_weakness(tmp_path: Path, record_figure: RecordFigure) -> None:
    # the control is first: a database that does not report this one was not queried, or is empty
    knowing = [
        service
        for service in ("pypi", "osv")
        if any(one.get("vulns") for one in audit(tmp_path, f"{WEAK}\n", service))
    ]
    if not knowing:
        pytest.skip(UNREACHABLE)
    wanted = {name: version for image in IMAGES for name, version in _installed(image).items()}
    lines = "".join(f"{name}=={version}\n" for name, version in wanted.items())
    answers = audit(tmp_path, lines, knowing[0])
    passed_over = {one["name"] for one in answers if "skip_reason" in one}
    weak = {one["name"]: [each["id"] for each in one["vulns"]] for one in answers if one.get("vulns")}
    record_figure("pins with a known weakness", len(weak), bar="0", sample=len(wanted))
    assert weak == {}
    assert passed_over == set()
    assert len(answers) == len(wanted)


def _installed(image: str) -> dict[str, str]:
    """Package -> version of all that an image installs."""
    locks = (ROOT / "requirements" / f"{name}.txt" for name in IMAGES[image])
    return {name: version for lock in locks for name, version in pins(lock).items()}


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """image -> its bill of materials, as `make sbom` writes it."""
    scanners.scanner("scan", "cyclonedx-py")
    folder = tmp_path_factory.mktemp("sbom")
    done = scanners.run(sys.executable, ROOT / "scripts" / "sbom.py", folder)
    assert done.returncode == 0, done.stderr
    return {image: folder / f"posecluster-{image}.cdx.json" for image in IMAGES}


@pytest.mark.acceptance(40)
@pytest.mark.parametrize("image", IMAGES)
def test_the_bill_of_materials_lists_what_is_installed(
    bills: dict[str, Path], image: str, record_figure: RecordFigure
) -> None:
    bill = json.loads(bills[image].read_text(encoding="utf-8"))
    listed = {
        canonicalize_name(one["name"]): one["version"]
        for one in bill["components"]
        if one.get("purl", "").startswith("pkg:pypi/")
    }
    record_figure(f"packages in the bill of {image}", len(listed), bar=f"= {len(_installed(image))}")
    assert listed == _installed(image)
    assert [one["name"] for one in bill["components"] if "purl" in one and not one.get("licenses")] == []
    hashes = {one["hashes"][0]["content"] for one in bill["components"] if "machine" in one["type"]}
    known = {pinned.sha256 for model in CATALOGUE for pinned in model.accepted}
    assert hashes == (known if image == "inference" else set())
    assert bill["metadata"]["component"]["version"] == VERSION


@pytest.mark.acceptance(40)
def test_the_bill_of_materials_is_valid(bills: dict[str, Path]) -> None:
    python = scanners.scanner("scan", "python")
    for path in bills.values():
        done = scanners.run(python, "-c", _VALIDATE, path)
        assert done.returncode == 0, done.stderr


@pytest.mark.acceptance(40)
@pytest.mark.control
def test_an_invalid_bill_of_materials_is_found(bills: dict[str, Path], tmp_path: Path) -> None:
    bill = json.loads(bills["operator"].read_text(encoding="utf-8"))
    bill["components"][0]["type"] = "planted"
    planted = tmp_path / "planted.json"
    planted.write_text(json.dumps(bill), encoding="utf-8")
    assert "planted" in scanners.run(scanners.scanner("scan", "python"), "-c", _VALIDATE, planted).stderr


def test_the_files_of_the_api_reference_are_those_of_the_upstream_package() -> None:
    """`make lock` compares the wheel with the npm package, and stores the hashes of the compared files."""
    lock = json.loads((ROOT / "requirements" / "viewer.json").read_text(encoding="utf-8"))
    assert lock["package"] == f"swagger-ui-dist@{pins(ROOT / 'requirements' / 'inference.txt')[VIEWER]}"
    assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", lock["integrity"])
    folder = Path(str(metadata.distribution(VIEWER).locate_file(VIEWER_FOLDER)))
    assert lock["sha256"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in VIEWER_FILES
    }


@pytest.mark.control
def test_a_wheel_that_differs_from_the_upstream_package_is_not_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    viewer = importlib.import_module("viewer")
    for name in VIEWER_FILES:
        (tmp_path / name).write_bytes(name.encode())
    package = tmp_path / "package.tgz"
    with tarfile.open(package, "w:gz") as archive:
        for name in VIEWER_FILES:
            archive.add(tmp_path / name, f"package/{name}")
    assert set(viewer.compared(tmp_path, package)) == set(VIEWER_FILES)
    (tmp_path / VIEWER_FILES[0]).write_bytes(b"one byte more")
    with pytest.raises(ValueError, match="differs from swagger-ui-dist: do not use this version"):
        viewer.compared(tmp_path, package)
    digest = base64.b64encode(hashlib.sha512(b"a").digest()).decode()
    viewer.check_integrity(b"a", f"sha512-{digest}")
    with pytest.raises(ValueError, match="but the registry names"):
        viewer.check_integrity(b"b", f"sha512-{digest}")
