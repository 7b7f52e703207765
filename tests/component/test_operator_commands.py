"""`posecluster-operator simulate` as a process: its output, its refusals, and its run time."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import posecluster_operator

pytestmark = pytest.mark.component

ROOT = Path(__file__).resolve().parents[2]
FOLDER = str(Path(posecluster_operator.__file__).parents[1])
SPEC = str(ROOT / "examples" / "posecluster.yaml")
WITHOUT_MATPLOTLIB = """
import sys
sys.modules["matplotlib"] = None
from posecluster_operator.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
LIGHT = """
import sys
from posecluster_operator.__main__ import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
heavy = {"kopf", "kubernetes", "aiohttp", "prometheus_client", "numpy", "matplotlib"}
print("loaded:", *sorted(heavy & set(sys.modules)), *(["yaml"] if "yaml" in sys.modules else []))
sys.exit(code)
"""


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env={**kept, "PYTHONPATH": FOLDER, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=80,
    )


def simulate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "posecluster_operator", "simulate", *arguments, **environment)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr of a command that printed nothing else and ended with 1."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("posecluster-operator: ")
    return done.stderr


@pytest.mark.parametrize("pattern", ["step", "wave", "burst"])
def test_a_pattern_is_simulated_beside_fixed_sizes_and_an_hpa(pattern: str) -> None:
    done = simulate("--spec", SPEC, "--pattern", pattern, "--duration", "300")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    starts = ["this PoseCluster ", "HPA, CPU at 50 % of request ", "fixed ", "requests per second"]
    assert all(any(line.startswith(start) for line in lines) for start in starts)
    assert any("smallest to meet it" in line for line in lines)
    assert any(line.endswith("#") for line in lines), "a curve"
    assert re.search(r"\d+ changes? of size", done.stdout)


def test_a_trace_is_simulated_and_tells_the_same_each_time(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    rows = "".join(f"{minute},{600 if minute in (3, 4) else 60}\n" for minute in range(8))
    trace.write_text(f"minute,requests\n{rows}", encoding="utf-8")
    flags = ["--spec", SPEC, "--trace", str(trace), "--scale", "10", "--skip", "60", "--decisions"]
    first = simulate(*flags, PYTHONHASHSEED="1")
    assert first.returncode == 0
    assert "t.csv, 7:00 long, 15000 requests (35.7 per second)" in " ".join(first.stdout.split())
    assert simulate(*flags, PYTHONHASHSEED="2").stdout == first.stdout
    assert simulate(*flags, "--seed", "2").stdout != first.stdout


def test_simulate_plot_writes_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "curves.png"
    done = simulate("--spec", SPEC, "--pattern", "step", "--duration", "60", "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (1_200, 720)


def test_without_matplotlib_only_the_picture_is_refused(tmp_path: Path) -> None:
    flags = ["simulate", "--spec", SPEC, "--pattern", "step", "--duration", "60"]
    picture = tmp_path / "curves.png"
    said = refusal(python("-c", WITHOUT_MATPLOTLIB, *flags, "--plot", str(picture)))
    assert 'install the extra "plot"' in said
    assert not picture.exists()
    assert python("-c", WITHOUT_MATPLOTLIB, *flags).returncode == 0


def test_errors_are_one_line_and_exit_code_one(tmp_path: Path) -> None:
    trace, spec = tmp_path / "t.csv", tmp_path / "s.yaml"
    trace.write_text("second,requests\n0,1\nx\n", encoding="utf-8")
    spec.write_text("apiVersion: posecluster.io/v1alpha1\nkind: PoseCluster\nspec: {replicas: -1}\n")
    step = ["--pattern", "step"]
    assert "line 3 of" in refusal(simulate("--spec", SPEC, "--trace", str(trace)))
    assert "cannot read" in refusal(simulate("--spec", SPEC, "--trace", str(tmp_path / "none")))
    assert "metadata.name" in refusal(simulate("--spec", str(spec), *step))
    spec.write_text("kind: [\n", encoding="utf-8")
    assert "is not valid YAML" in refusal(simulate("--spec", str(spec), *step))
    assert "--service-ms must be" in refusal(simulate("--spec", SPEC, *step, "--service-ms", "nan"))
    assert "--skip has no effect with --pattern" in refusal(simulate("--spec", SPEC, *step, "--skip", "5"))
    assert "too many" in refusal(simulate("--spec", SPEC, *step, "--scale", "1000"))
    assert "the directory does not exist" in refusal(
        simulate("--spec", SPEC, *step, "--plot", str(tmp_path / "a" / "b.png"))
    )


def test_flags_that_are_missing_or_at_odds_are_refused_with_the_usage() -> None:
    for flags in ([], ["--spec", SPEC], ["--spec", SPEC, "--trace", "t", "--pattern", "step"]):
        done = simulate(*flags)
        assert done.returncode == 2
        assert done.stderr.startswith("usage: posecluster-operator simulate")


def test_help_loads_nothing_heavy_and_simulating_only_yaml() -> None:
    for flags in (["--help"], ["simulate", "--help"], ["run", "--help"]):
        assert python("-c", LIGHT, *flags).stdout.endswith("loaded:\n")
    done = python("-c", LIGHT, "simulate", "--spec", SPEC, "--pattern", "step", "--duration", "30")
    assert done.stdout.endswith("loaded: yaml\n")


def test_a_closed_pipe_and_a_terminal_without_colours_are_handled() -> None:
    command = [sys.executable, "-W", "error", "-m", "posecluster_operator", "simulate", "--spec", SPEC]
    with subprocess.Popen(
        [*command, "--pattern", "step", "--duration", "60"],
        env={"PYTHONPATH": FOLDER},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    done = simulate("--spec", SPEC, "--pattern", "step", "--duration", "60", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "late ?" in done.stdout


def test_half_an_hour_at_a_hundred_requests_a_second_takes_seconds(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("second,requests\n" + "".join(f"{at},100\n" for at in range(1_800)), encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = simulate("--spec", SPEC, "--trace", str(trace))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert "180000 requests (100.0 per second)" in done.stdout.replace("\n  ", " ")
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 30.0
