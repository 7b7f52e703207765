"""`make test` lists skipped tests, scripts/envtest fetches an API server, .ci/run needs only a checkout."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.server import ROOT
from harness.stand_ins import StandIns

pytestmark = pytest.mark.unit

# one process, and no plugins to import
QUICK = {"POSECLUSTER_LONG": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
PASSES = "def test_passes(): pass\n"
SKIPS = """
import pytest
@pytest.mark.parametrize("n", range(3))
def test_skips(n): pytest.skip("there is no helm")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with tiers.py, a configuration of pytest, and no tests yet."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "tiers.py", tmp_path / "scripts")
    envtest = tmp_path / "scripts" / "envtest"
    envtest.write_text("#!/bin/sh\n", encoding="utf-8")
    envtest.chmod(0o755)
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return tmp_path


def run(
    project: Path, *tiers: str, require: str = "", plugins: dict[str, str] = QUICK, **tests: str
) -> tuple[int, str]:
    """What tiers.py says of tests by tier, and its exit code."""
    for tier, source in tests.items():
        folder = project / "tests" / tier
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"test_{tier}.py").write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, project / "scripts" / "tiers.py", *tiers],
        env={"PATH": os.environ["PATH"], "POSECLUSTER_REQUIRE": require} | plugins,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    return done.returncode, done.stdout


def test_a_skipped_tier_never_looks_like_a_passed_one(project: Path) -> None:
    everything = dict.fromkeys(("component", "apiserver", "browser", "e2e"), PASSES)
    code, said = run(project, unit=PASSES, chart=SKIPS, **everything)
    assert code == 0
    assert "unit        passed   1 passed, 0 failed, 0 skipped\n" in said
    assert "chart       SKIPPED  none of its 3 tests ran\n" in said
    assert said.endswith("browser, e2e\nSkipped, nothing was tested: chart\n")


def test_a_tier_that_was_named_and_skipped_fails(project: Path) -> None:
    code, said = run(project, "unit", "chart", unit=PASSES, chart=SKIPS)
    assert code == 1
    assert "\nSkipped in chart: there is no helm\n" in said
    assert said.endswith("Skipped, nothing was tested: chart\nRequired, but nothing was tested: chart\n")
    assert run(project, "--summary", "unit", "chart")[0] == 0


def test_skipped_tests_are_named_with_their_reason(project: Path) -> None:
    code, said = run(project, "chart", chart=PASSES + SKIPS)
    assert code == 0
    assert "chart       PARTLY   1 passed, 0 failed, 3 skipped\n" in said
    assert said.endswith("Passed but for the skipped tests above: chart\n")
    assert "\nSkipped in chart: there is no helm\n  tests/chart/test_chart.py::test_skips (3 tests)\n" in said


def test_many_skipped_tests_are_named_by_file(project: Path) -> None:
    many = "".join(f"def test_{n}(): pytest.skip('no')\n" for n in range(30))
    _, said = run(project, "chart", chart="import pytest\n" + many)
    assert "Skipped in chart: no\n  tests/chart/test_chart.py (30 tests)\n" in said


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("def test_fails(): assert False\n", "chart       FAILED   0 passed, 1 failed, 0 skipped"),
        ("import nothing_like_it\n", "chart       FAILED"),
        ("", "chart       FAILED   no test was collected"),
    ],
)
def test_a_failed_or_empty_tier_fails(project: Path, source: str, text: str) -> None:
    code, said = run(project, "chart", chart=source)
    assert code == 1
    assert text in said
    assert said.endswith("Failed: chart\n")


def test_an_unknown_tier_fails_and_the_known_ones_are_named(project: Path) -> None:
    code, said = run(project, "charts")
    assert code == 1
    assert "there is no such tier: name some of unit, component" in said


def test_a_required_tier_that_is_skipped_fails(project: Path) -> None:
    everything = dict.fromkeys(("unit", "component", "apiserver", "browser", "e2e"), PASSES)
    code, said = run(project, require="unit,chart", chart=SKIPS, **everything)
    assert code == 1
    assert "Required, but nothing was tested: chart" in said


FAILS_ONCE = """
import pathlib, pytest
@pytest.mark.parametrize("n", range({count}))
def test_by_chance(n):
    again = pathlib.Path(__file__).with_name(f"again-{{n}}")
    assert again.exists() or again.touch()
"""


def test_a_test_that_passes_when_run_again_is_reported_as_unstable(project: Path) -> None:
    code, said = run(project, "chart", "unit", unit=PASSES, chart=PASSES + FAILS_ONCE.format(count=2))
    assert code == 0
    assert "\n== chart again\n" in said
    assert "chart       passed   1 passed, 0 failed, 0 skipped, 2 UNSTABLE\n" in said
    names = ", ".join(f"tests/chart/test_chart.py::test_by_chance[{n}]" for n in range(2))
    assert said.endswith(f"Passed: chart, unit\nUNSTABLE, failed and passed when run again: {names}\n")


def test_a_set_up_that_fails_once_is_unstable_too(project: Path) -> None:
    source = """
import pathlib, pytest
@pytest.fixture
def server():
    again = pathlib.Path(__file__).with_name("again")
    assert again.exists() or again.touch()
def test_it(server): pass
"""
    code, said = run(project, "chart", chart=source)
    assert code == 0
    assert "chart       passed   0 passed, 0 failed, 0 skipped, 1 UNSTABLE\n" in said


@pytest.mark.parametrize(
    "source",
    [
        FAILS_ONCE.format(count=1) + "def test_fails(): assert False\n",
        FAILS_ONCE.format(count=6),  # more than may be chance
        "import pathlib\nassert pathlib.Path(__file__).with_suffix('.done').exists()\n" + PASSES,
        FAILS_ONCE.format(count=1).replace(
            "again.touch()", "again.touch()\n    pytest.skip('now it is off')"
        ),
    ],
    ids=["one fails twice", "too many", "not importable", "skipped the second time"],
)
def test_a_test_that_fails_twice_fails_the_tier(project: Path, source: str) -> None:
    code, said = run(project, "chart", chart=source)
    assert code == 1
    assert said.endswith("Failed: chart\n")
    assert "UNSTABLE" not in said


def test_unit_tests_get_no_second_run(project: Path) -> None:
    code, said = run(project, "unit", unit=FAILS_ONCE.format(count=1))
    assert code == 1
    assert "unit        FAILED   0 passed, 1 failed, 0 skipped" in said


def test_serial_tests_run_after_all_others_in_one_process(project: Path) -> None:
    source = """
import os, pathlib, pytest
ran = pathlib.Path(__file__).parent / "ran"
@pytest.mark.parametrize("n", range(3))
def test_beside_others(n):
    assert "PYTEST_XDIST_WORKER" in os.environ
    with ran.open("a") as file: file.write("x")
@pytest.mark.serial
def test_by_itself():
    assert "PYTEST_XDIST_WORKER" not in os.environ
    assert ran.read_text() == "xxx"
"""
    only_xdist = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p xdist"}
    code, said = run(project, "unit", plugins=only_xdist, unit=source)
    assert "unit        passed   4 passed, 0 failed, 0 skipped\n" in said
    assert code == 0


def test_smoke_runs_only_the_marked_tests(project: Path) -> None:
    source = f"import pytest\n{PASSES}\n@pytest.mark.smoke\ndef test_first(): pass\n"
    code, said = run(project, "--smoke", "chart", chart=source)
    assert code == 0
    assert "chart       passed   1 passed, 0 failed, 0 skipped\n" in said
    assert not (project / "build" / "tier-chart.json").exists()


def test_the_slowest_tests_of_all_tiers_and_runs_are_named(project: Path) -> None:
    slow = "import time\n" + "".join(f"def test_{n}(): time.sleep({n} / 25)\n" for n in range(11))
    _, said = run(project, "chart", chart=slow)
    assert re.search(r"\nSlowest tests:\n +0\.\d s  tests/chart/test_chart.py::test_10\n", said)
    assert "::test_0\n" not in said
    run(project, "browser", browser=PASSES + "import time\ndef test_slowest(): time.sleep(0.8)\n")
    code, said = run(project, "--summary")
    assert code == 0
    assert "chart       passed   11 passed" in said
    assert re.search(r"\nSlowest tests:\n +\d\.\d s  tests/browser/test_browser.py::test_slowest\n", said)
    assert said.endswith("Passed: chart, browser\n")


@pytest.mark.parametrize(("script", "found"), [("echo /fetched", "/fetched"), ("exit 1", None)])
def test_the_api_server_tier_gets_what_was_fetched(project: Path, script: str, found: str | None) -> None:
    (project / "scripts" / "envtest").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    check = f"import os\ndef test_it(): assert os.environ.get('KUBEBUILDER_ASSETS') == {found!r}\n"
    assert run(project, "apiserver", apiserver=check)[0] == 0


def test_an_empty_parametrisation_is_an_error() -> None:
    """Otherwise a list that lost its entries would hide all their tests."""
    configured = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'empty_parameter_set_mark = "fail_at_collect"' in configured


# ---- scripts/envtest


@pytest.fixture
def programs(tmp_path: Path) -> StandIns:
    """Stand-ins beside the few programs that scripts/envtest uses."""
    programs = StandIns(tmp_path)
    for name in ("cp", "timeout"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    return programs


def envtest(programs: StandIns, **environment: str) -> subprocess.CompletedProcess[str]:
    return programs.run("scripts/envtest", ENVTEST_DIR=str(programs.folder / "envtest"), **environment)


MODULE = "sigs.k8s.io/controller-runtime/tools/setup-envtest"
NOT_INSTALLED = 'if [ "$1" = use ] && [ "$7" = --installed-only ]; then exit 2; fi\n'
FETCHES = NOT_INSTALLED + 'if [ "$1" = use ]; then printf %s /fetched/k8s; fi'


def test_named_programs_are_used_as_they_are(programs: StandIns) -> None:
    programs.add("setup-envtest", FETCHES)
    done = envtest(programs, KUBEBUILDER_ASSETS="/mine")
    assert (done.returncode, done.stdout) == (0, "/mine\n")
    assert programs.calls == []


def test_setup_envtest_on_path_fetches_them(programs: StandIns) -> None:
    programs.add("setup-envtest", FETCHES)
    programs.add("go")
    done = envtest(programs)
    assert (done.returncode, done.stdout) == (0, "/fetched/k8s\n")
    use = f"setup-envtest use 1.34.x --bin-dir {programs.folder}/envtest --print path"
    assert programs.calls == [
        f"{use} --installed-only",
        f"setup-envtest list --bin-dir {programs.folder}/envtest",
        use,
    ]


def test_what_was_fetched_before_needs_no_network(programs: StandIns) -> None:
    programs.add("setup-envtest", "printf %s /fetched/before")
    assert envtest(programs).stdout == "/fetched/before\n"
    assert len(programs.calls) == 1


def test_setup_envtest_is_built_once_where_there_is_go(programs: StandIns) -> None:
    programs.add("tool", FETCHES)
    programs.add("go", f'cp "{programs.folder}/bin/tool" "$GOBIN/setup-envtest"')
    for builds in (1, 0):
        done = envtest(programs)
        assert (done.returncode, done.stdout) == (0, "/fetched/k8s\n"), done.stderr
        assert sum(call.startswith(f"go install {MODULE}@v") for call in programs.calls) == builds


@pytest.mark.parametrize(
    ("stand_ins", "message"),
    [
        ({}, "there is neither setup-envtest nor Go on PATH"),
        ({"go": "exit 1"}, "cannot build setup-envtest"),
        ({"setup-envtest": "exit 2"}, "the list of API servers cannot be fetched"),
        (
            {"setup-envtest": 'if [ "$1" = use ]; then exit 2; fi'},
            "etcd and kube-apiserver cannot be fetched",
        ),
    ],
)
def test_a_message_says_how_to_get_the_api_servers_programs(
    programs: StandIns, stand_ins: dict[str, str], message: str
) -> None:
    for name, lines in stand_ins.items():
        programs.add(name, lines)
    done = envtest(programs)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver" in done.stderr


# ---- .ci/run


@pytest.fixture
def machine(programs: StandIns) -> StandIns:
    """A machine with a checkout and nothing else; make notes the tiers that it must not skip."""
    (programs.folder / "bin" / "realpath").symlink_to(shutil.which("realpath") or "")
    notes = 'echo "required: $POSECLUSTER_REQUIRE" >>"$STAND_INS_LOG"'
    where = 'case "$1" in kind-* | test-e2e) echo "KUBECONFIG: $KUBECONFIG" >>"$STAND_INS_LOG" ;; esac'
    programs.add("make", f"{notes}\n{where}")
    return programs


def ci(machine: StandIns, **environment: str) -> subprocess.CompletedProcess[str]:
    tools, fetched = (str(machine.folder / name) for name in ("tools", "envtest"))
    return machine.run(".ci/run", **{"CLUSTER_TOOLS": tools, "ENVTEST_DIR": fetched} | environment)


def test_ci_needs_nothing_beside_the_checkout_and_names_what_it_skips(machine: StandIns) -> None:
    done = ci(machine)
    assert done.returncode == 0, done.stderr
    assert "required: unit,component" in machine.calls
    assert "make lint" in machine.calls
    assert [call for call in machine.calls if "TIERS" in call] == [
        "make test TIERS=unit component",
        "make test-summary TIERS=unit component",
    ]
    assert not any("e2e" in call.split()[-1] for call in machine.calls)
    for tier in ("apiserver", "chart", "browser", "e2e"):
        assert f"ci: {tier}: skipped, because this machine lacks what it needs" in done.stderr


CLUSTER_CALLS = (
    *("up", "down", "make images", "make kind-down kind-up kind-images", "make test-e2e", "make deploy"),
)


def add_tools(machine: StandIns, *, kind: bool) -> None:
    """The folder that starts clusters: kind's, or that of a cluster without an engine."""
    for name in ("up", "down", "build-image"):
        machine.add(name)
    machine.add("env-of-cluster", 'echo "export KUBECONFIG=/kubeconfig KUBEBUILDER_ASSETS=/assets"')
    names = {"up": "up", "down": "down", "env": "env-of-cluster"}
    (machine.folder / "tools").mkdir()
    for name, program in (names if kind else names | {"build-image": "build-image"}).items():
        (machine.folder / "tools" / name).symlink_to(machine.folder / "bin" / program)


@pytest.mark.parametrize("kind", [True, False])
def test_ci_requires_every_tier_that_the_machine_can_run(machine: StandIns, kind: bool) -> None:
    for name in ("helm", "promtool", "chromium"):
        machine.add(name)
    add_tools(machine, kind=kind)
    done = ci(machine)
    assert done.returncode == 0, done.stderr
    assert "required: unit,component,apiserver,chart,browser,e2e" in machine.calls
    ran = [call for call in machine.calls if call in CLUSTER_CALLS]
    if kind:
        assert ran == ["up", "make kind-down kind-up kind-images", "make test-e2e", "make deploy", "down"]
        # kind writes the file that the tests read
        assert [call for call in machine.calls if "KUBECONFIG" in call] == ["KUBECONFIG: /kubeconfig"] * 2
    else:
        assert ran == ["down", "up", "make images", "make test-e2e", "down"]
    for tiers in ("apiserver", "unit component browser", "chart"):
        assert f"make test TIERS={tiers}" in machine.calls
    assert "make test-summary TIERS=unit component apiserver chart browser e2e" in machine.calls


def test_ci_stops_the_engine_when_it_cannot_create_a_cluster(machine: StandIns) -> None:
    add_tools(machine, kind=True)
    fails = 'if [ "$1" = kind-down ]; then exit 3; fi'
    machine.add("make", fails)
    assert ci(machine).returncode == 1
    assert machine.calls[-1] == "down"


def test_ci_leaves_a_cluster_alone_that_it_was_given(machine: StandIns) -> None:
    add_tools(machine, kind=True)
    assert ci(machine, CI_KUBECONFIG="/given").returncode == 0
    assert [call for call in machine.calls if call in CLUSTER_CALLS] == ["up", "make test-e2e"]


def test_ci_fails_if_a_step_does_and_runs_the_others(machine: StandIns) -> None:
    machine.add("make", 'if [ "$1" = lint ]; then exit 2; fi')
    assert ci(machine).returncode == 1
    assert any(call.startswith("make test") for call in machine.calls)


def test_ci_requires_the_tiers_of_its_variable(machine: StandIns) -> None:
    ci(machine, POSECLUSTER_REQUIRE="unit,chart")
    assert "required: unit,chart" in machine.calls


def test_smoke_of_a_tier_without_marked_tests_is_an_error(project: Path) -> None:
    code, _ = run(project, "--smoke", "chart", chart=PASSES)
    assert code == 1
