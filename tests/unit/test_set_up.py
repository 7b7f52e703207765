"""`make` reports an unsupported system first, and says what to do; `uname` and `ldd` are stand-ins."""

import shutil
from pathlib import Path

import pytest

from harness.server import ROOT
from harness.stand_ins import StandIns

README = (ROOT / "README.md").read_text(encoding="utf-8")
MUSL = 'echo "musl libc (x86_64)" >&2; exit 1'
SHELLS = [shell for shell in ("dash", "busybox", "bash", "sh") if shutil.which(shell)]


@pytest.fixture
def programs(tmp_path: Path) -> StandIns:
    return StandIns(tmp_path)


def assert_says_what_to_do(errors: str, system: str) -> None:
    lines = errors.splitlines()
    assert lines[0].startswith("setup: PoseCluster needs Linux with glibc ")
    assert lines[0].endswith(f"and this is {system}.")
    commands = [line.strip() for line in lines if line.startswith("  docker ")]
    assert len(commands) == 2
    assert [command for command in commands if f"\n$ {command}\n" not in README] == []


@pytest.mark.parametrize("target", ["run", "run-operator", "test", "lint", "models"])
def test_macos_users_are_pointed_to_the_container(programs: StandIns, target: str) -> None:
    programs.add("uname", "echo Darwin")
    done = programs.run("make", target)
    assert done.returncode != 0
    assert_says_what_to_do(done.stderr, "Darwin")
    assert done.stdout == ""
    assert programs.calls == ["uname -s", "uname -s"]


@pytest.mark.parametrize("system", ["MINGW64_NT-10.0-26100", "FreeBSD"])
def test_other_systems_are_told_that_linux_is_needed(programs: StandIns, system: str) -> None:
    programs.add("uname", f"echo {system}")
    done = programs.run("make", "run")
    assert done.returncode != 0
    assert_says_what_to_do(done.stderr, system)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_system_check_runs_in_any_posix_shell(programs: StandIns, shell: str) -> None:
    """macOS has bash 3.2, Alpine only busybox."""
    programs.add("uname", "echo Darwin")
    path = str(shutil.which(shell))
    program = (path, "sh") if shell == "busybox" else (path, "--posix") if shell == "bash" else (path,)
    done = programs.run(*program, "scripts/setup", "run")
    assert done.returncode == 1
    assert_says_what_to_do(done.stderr, "Darwin")


def test_make_reports_an_unsupported_system_without_bash(programs: StandIns) -> None:
    (programs.folder / "bin" / "bash").unlink()
    programs.add("uname", "echo Linux")
    programs.add("ldd", MUSL)
    done = programs.run("make", "run")
    assert done.returncode != 0
    assert_says_what_to_do(done.stderr, "a Linux with musl, which MediaPipe has no build for")


@pytest.mark.control
def test_set_up_continues_on_linux_with_glibc(programs: StandIns, tmp_path: Path) -> None:
    copied = tmp_path / "repository" / "scripts" / "setup"
    copied.parent.mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup", copied)
    programs.add("uname", "echo Linux")
    programs.add("ldd", 'echo "ldd (GNU libc) 2.36"')
    programs.add("cksum", "echo 1")
    done = programs.run(str(copied), "run", PYTHON="none")
    assert done.returncode == 1
    assert "needs Linux" not in done.stderr
    assert "setup: needs Python 3.11 or newer as python3" in done.stderr
