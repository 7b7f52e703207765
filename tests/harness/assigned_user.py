"""Run a program as a platform with assigned user ids does: no name, no home, only /tmp writable.

The program gets a root file system of its own, made of this machine's system folders and the ones that it
needs, all read-only. Needs root, because only root may choose another user and mount.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.server import ROOT

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/dev", "/proc", "/sys")
# The program replaces the shell, so that the process that was started is the program itself.
_SCRIPT = """
set -eu
root=$1 user=$2 group=$3
shift 3
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/tmp"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
while [ "$1" != -- ]; do
  mkdir -p "$root$1"
  mount --rbind "$1" "$root$1"
  mount -o remount,bind,ro "$root$1"
  shift
done
shift
mount -o remount,ro "$root"
exec chroot --userspec "+$user:+$group" --groups '' "$root" setpriv --no-new-privs "$@"
"""


@dataclass(frozen=True, slots=True)
class Ids:
    """A process's user and its only group."""

    user: int
    group: int


ASSIGNED = Ids(1_000_690_000, 0)  # as OpenShift chooses them
IMAGES_OWN = Ids(10_001, 10_001)


def command(ids: Ids, root: Path, program: tuple[str, ...], *folders: Path) -> tuple[str, ...]:
    """Return the command that runs `program` under these ids in a root made in the empty folder `root`.

    `folders` are visible beside the repository and the interpreter. Skips the test where it cannot be done.
    """
    if os.getuid() != 0:
        pytest.skip("needs root, to start a process as another user")
    possible = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
    if possible.returncode != 0:
        pytest.skip(f"needs mount namespaces: {possible.stderr.strip()}")
    root.mkdir()
    system = [Path(folder) for folder in _SYSTEM if Path(folder).is_dir()]
    visible = [*system, ROOT, Path(sys.prefix), Path(sys.base_prefix), *folders]
    outermost = [
        one
        for one in dict.fromkeys(visible)
        if not any(one.is_relative_to(other) for other in visible if other != one)
    ]
    unshared = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh", str(root)]
    return (*unshared, str(ids.user), str(ids.group), *map(str, outermost), "--", *program)


def run(
    ids: Ids, root: Path, program: tuple[str, ...], *folders: Path, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run it to its end as `command` says, with both packages and these variables, but without a home."""
    path = os.pathsep.join(str(ROOT / package) for package in ("operator", "inference", "common"))
    return subprocess.run(
        command(ids, root, program, *folders),
        env={
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": path,
            "PYTHONWARNINGS": "error",
            **variables,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
