"""The parts of a worker's sandbox: rights by ABI, numbers of system calls, and what stays readable."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from posecluster_inference.worker.sandbox import landlock, readable, seccomp

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")

HEADERS = {
    "/usr/include/x86_64-linux-gnu/asm/unistd_64.h": 0,
    "/usr/include/asm-generic/unistd.h": 1,
}
TRY = """
import sys
from pathlib import Path
from posecluster_inference.worker import sandbox
from posecluster_inference.worker.sandbox import landlock
from posecluster_inference.machine import kernel
kernel.prctl(38, 1)
used = landlock.restrict([Path(sys.argv[2]), Path("/no/such/file")], int(sys.argv[1]))
def can_read(path):
    try:
        open(path, "rb").close()
        return True
    except PermissionError:
        return False
def can_write(path):
    try:
        open(path, "ab").close()
        return True
    except PermissionError:
        return False
print(used, can_read(sys.argv[2] + "/inside"), can_read(sys.argv[3]), can_write(sys.argv[2] + "/inside"))
"""


@pytest.mark.parametrize(
    ("abi", "files", "network", "scopes", "size"),
    [
        (1, 0x1FFF, 0, 0, 8),
        (2, 0x3FFF, 0, 0, 8),
        (3, 0x7FFF, 0, 0, 8),
        (4, 0x7FFF, 3, 0, 16),
        (5, 0xFFFF, 3, 0, 16),
        (6, 0xFFFF, 3, 3, 24),
        (7, 0xFFFF, 3, 3, 24),
        (99, 0xFFFF, 3, 3, 24),
    ],
)
def test_each_abi_denies_all_rights_that_it_knows(
    abi: int, files: int, network: int, scopes: int, size: int
) -> None:
    denied, bytes_used = landlock.ruleset(abi)
    assert (denied.files, denied.network, denied.scopes, bytes_used) == (files, network, scopes, size)


@pytest.mark.parametrize("abi", range(8))
def test_a_process_can_read_only_what_is_listed(tmp_path: Path, abi: int) -> None:
    """By each ABI up to that of this kernel, as on an older kernel; 0 is one without Landlock."""
    if abi > landlock.supported_abi():
        pytest.skip(f"open: this kernel has Landlock's ABI {landlock.supported_abi()}")
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed" / "inside").touch()
    (tmp_path / "beside").touch()
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(abi), str(tmp_path / "listed"), str(tmp_path / "beside")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    expected = "0 True True True" if abi == 0 else f"{abi} True False False"
    assert done.stdout.strip() == expected


@pytest.mark.parametrize("header", HEADERS)
def test_numbers_of_system_calls_are_those_of_the_kernel(header: str) -> None:
    if not Path(header).is_file():
        pytest.skip(f"open: {header} is missing (linux-libc-dev)")
    defined = dict(
        re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text(encoding="ascii"))
    )
    for name, numbers in {**seccomp.ALLOWED, **seccomp.CONDITIONAL}.items():
        number = numbers[HEADERS[header]]
        defined_as = {"newfstatat": "fstatat"}.get(name, name) if "generic" in header else name
        if number is None:
            assert name not in defined or name in {"time", "getrlimit"}, name
        else:
            assert int(defined[defined_as]) == number, name


def test_jumps_of_the_filter_are_short_and_every_path_ends() -> None:
    program = seccomp.confinement(1)
    assert len(program) <= 4_096  # BPF_MAXINSNS
    for index, one in enumerate(program):
        assert one.if_true < 256
        assert one.if_false < 256
        assert index + max(one.if_true, one.if_false) + 1 <= len(program)
    assert program[-1].code == 6


def test_a_machine_without_a_table_gets_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    uname = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*uname[:4], "riscv64")))
    assert seccomp.confinement(1) == []
    assert seccomp.install([]) is False


def test_neither_the_working_folder_nor_an_ancestor_of_secrets_is_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.syspath_prepend(str(tmp_path / "project"))
    found = readable.paths(tmp_path / "model.task")
    secrets = [
        tmp_path / "project" / "tokens" / "mobile",
        Path("/etc/passwd"),
        Path.home() / ".ssh",
        Path("/tmp/x"),
    ]
    for secret in secrets:
        assert [one for one in found if secret.is_relative_to(one)] == [], secret
    assert tmp_path / "model.task" in found


def test_packages_outside_of_the_installation_are_readable_once_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_place" / "my_engine").mkdir(parents=True)
    (tmp_path / "odd_place" / "my_engine" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "odd_place"))
    __import__("my_engine")
    monkeypatch.delitem(sys.modules, "my_engine", raising=False)
    assert tmp_path / "odd_place" / "my_engine" not in readable.paths(tmp_path)
    __import__("my_engine")
    found = readable.paths(tmp_path / "model.task")
    assert tmp_path / "odd_place" / "my_engine" in found
    assert tmp_path / "odd_place" not in found
    monkeypatch.delitem(sys.modules, "my_engine")
