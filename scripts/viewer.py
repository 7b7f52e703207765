"""Compare the files of the API reference in their locked wheel with the upstream npm package (`make lock`).

Usage: viewer.py. The wheel is not published by the makers of these files, and its hash only proves that it
has not changed since it was locked. Writes requirements/viewer.json: the npm package, its integrity, and the
hashes of the compared files, with which a test compares the installed ones. Needs npm.
"""

import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "inference"))

from posecluster_inference.server.http.pages import VIEWER, VIEWER_FILES, VIEWER_FOLDER  # noqa: E402

LOCK = ROOT / "requirements" / "viewer.json"
_WHEELS = ROOT / "requirements" / "inference.txt"
_PACKAGE = "swagger-ui-dist"


def locked(text: str) -> tuple[str, str]:
    """Version of the viewer's wheel in the text of a lock file, and its lines with the hashes."""
    found = re.search(rf"^{VIEWER}==(\S+) \\\n(?:    --hash=\S+(?: \\)?\n)+", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{_WHEELS.name} does not pin {VIEWER} by hash")
    return found[1], found[0]


def check_integrity(data: bytes, integrity: str) -> None:
    """Raise ValueError if the npm package does not have the integrity that the registry names."""
    found = f"sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}"
    if found != integrity:
        raise ValueError(f"{_PACKAGE} has the integrity {found}, but the registry names {integrity}")


def compared(wheel: Path, package: Path) -> dict[str, str]:
    """SHA-256 by file name; raises ValueError if a file differs between the folder and the npm package."""
    hashes = {}
    with tarfile.open(package) as archive:
        for name in VIEWER_FILES:
            upstream = archive.extractfile(f"package/{name}")
            body = (wheel / name).read_bytes()
            if upstream is None or upstream.read() != body:
                raise ValueError(f"{name} in {VIEWER} differs from {_PACKAGE}: do not use this version")
            hashes[name] = hashlib.sha256(body).hexdigest()
    return hashes


def run(*command: str, folder: Path) -> str:
    """Run a program in a folder; return its output."""
    return subprocess.run(
        command, cwd=folder, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, encoding="utf-8"
    ).stdout.strip()


def compare(folder: Path) -> dict[str, object]:
    """Download both, which npm and uv do from their configured registries, and return the new lock."""
    version, pin = locked(_WHEELS.read_text(encoding="utf-8"))
    (folder / "pin.txt").write_text(pin, encoding="utf-8")
    install = (str(ROOT / ".venv/bin/uv"), "pip", "install", "--quiet", "--no-deps", "--require-hashes")
    run(*install, "--target", "wheel", "--requirements", "pin.txt", folder=folder)
    name = f"{_PACKAGE}@{version}"
    integrity = run("npm", "view", name, "dist.integrity", folder=folder)
    package = folder / run("npm", "pack", "--silent", name, folder=folder).splitlines()[-1]
    check_integrity(package.read_bytes(), integrity)
    return {
        "package": name,
        "integrity": integrity,
        "sha256": compared(folder / "wheel" / VIEWER_FOLDER, package),
    }


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        try:
            lock = compare(Path(folder))
        except (OSError, subprocess.CalledProcessError, KeyError, ValueError) as error:
            print(f"viewer: {error}", file=sys.stderr)
            return 1
    LOCK.write_text(json.dumps(lock, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
