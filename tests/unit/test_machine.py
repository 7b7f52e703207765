"""The start reports what a (simulated) machine lacks: system, C library or processor features."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import posecluster_inference
from posecluster_inference.errors import InvalidSetting
from posecluster_inference.machine import cpu

pytestmark = pytest.mark.unit

X86, ARM = "cpython-311-x86_64-linux-gnu", "cpython-313-aarch64-linux-gnu"
NEHALEM = "fpu vme sse sse2 ht syscall nx pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm"
SANDY_BRIDGE = f"{NEHALEM} aes xsave avx"
CORTEX_A72 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
NEOVERSE_N1 = f"{CORTEX_A72} atomics fphp asimdhp"
# As on a system whose standard library lacks modules that Linux has. Its asyncio does not import them.
ELSEWHERE = """
import asyncio, sys
sys.modules |= dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios"))
sys.platform = sys.argv[1]
from posecluster_inference.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


def build(monkeypatch: pytest.MonkeyPatch, abi: str | None) -> None:
    """Let this Python be one that was built for that."""
    monkeypatch.setattr(sysconfig, "get_config_var", {"SOABI": abi}.get)


def cpuinfo(folder: Path, line: str, *processors: str) -> Path:
    path = folder / "cpuinfo"
    blocks = [f"processor\t: {n}\nmodel name\t: x\n{line}\t: {one}\n" for n, one in enumerate(processors)]
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def test_this_machine_meets_the_requirements() -> None:
    cpu.check_system()
    cpu.check_processor()


@pytest.mark.parametrize(
    ("abi", "line", "features", "missing"),
    [
        (X86, "flags", NEHALEM, "avx"),
        (X86, "flags", "fpu sse sse2 pni", "avx, cx16, lahf_lm, popcnt, sse4_1, sse4_2, ssse3"),
        (ARM, "Features", CORTEX_A72, "atomics"),
    ],
)
def test_a_processor_that_lacks_a_feature_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abi: str, line: str, features: str, missing: str
) -> None:
    build(monkeypatch, abi)
    with pytest.raises(InvalidSetting, match=f"^this processor lacks {missing}: ") as refusal:
        cpu.check_processor(cpuinfo(tmp_path, line, features))
    assert ("Armv8.1" if abi == ARM else "x86-64 with AVX") in str(refusal.value)


@pytest.mark.parametrize(
    ("abi", "line", "features"), [(X86, "flags", SANDY_BRIDGE), (ARM, "Features", NEOVERSE_N1)]
)
def test_a_processor_with_all_features_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abi: str, line: str, features: str
) -> None:
    build(monkeypatch, abi)
    cpu.check_processor(cpuinfo(tmp_path, line, features, features))


def test_one_lesser_core_is_enough_to_be_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(monkeypatch, ARM)
    with pytest.raises(InvalidSetting, match="lacks atomics"):
        cpu.check_processor(cpuinfo(tmp_path, "Features", NEOVERSE_N1, CORTEX_A72))


@pytest.mark.parametrize("abi", [X86, ARM])
def test_an_emulator_that_shows_another_processor_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abi: str
) -> None:
    build(monkeypatch, abi)
    cpu.check_processor(cpuinfo(tmp_path, "Features" if abi == X86 else "flags", "none"))
    cpu.check_processor(tmp_path / "missing")


@pytest.mark.parametrize(
    ("abi", "platform"),
    [
        ("cpython-312-x86_64-linux-musl", "x86_64-linux-musl"),
        ("cpython-311-arm-linux-gnueabihf", "arm-linux-gnueabihf"),
        ("cpython-311-i386-linux-gnu", "i386-linux-gnu"),
        ("cpython-311-riscv64-linux-gnu", "riscv64-linux-gnu"),
    ],
)
def test_a_python_that_mediapipe_has_no_build_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, abi: str, platform: str
) -> None:
    build(monkeypatch, abi)
    with pytest.raises(InvalidSetting, match=f"this Python is built for {platform}: use ") as refusal:
        cpu.check_system()
    assert "x86_64-linux-gnu and aarch64-linux-gnu" in str(refusal.value)


@pytest.mark.parametrize("abi", [X86, ARM, "cpython-313t-aarch64-linux-gnu", None])
def test_a_python_that_mediapipe_may_have_a_build_for_passes(
    monkeypatch: pytest.MonkeyPatch, abi: str | None
) -> None:
    build(monkeypatch, abi)
    cpu.check_system()


@pytest.mark.parametrize("system", ["darwin", "win32", "freebsd14"])
@pytest.mark.parametrize("command", ["serve", "models"])
def test_commands_report_at_the_start_that_they_need_linux(system: str, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, system, command],
        env={**os.environ, "PYTHONPATH": str(Path(posecluster_inference.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"posecluster-inference: the server runs only on Linux, but this is {system}: run its image"
    )
