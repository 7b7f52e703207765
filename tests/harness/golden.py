"""pytest plugin: compares objects with reviewed YAML files in tests/golden.

`--update-golden` rewrites the files, and the diff is reviewed like code; CI only compares.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[1] / "golden"
Golden = Callable[[str, Sequence[Any]], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden from the code")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--update-golden") and os.environ.get("CI"):
        raise pytest.UsageError("--update-golden is not for CI: golden files are reviewed before")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Return `golden(name, documents)`, which asserts that these are those of the file."""
    is_update = bool(request.config.getoption("--update-golden"))

    def compare(name: str, documents: Sequence[Any]) -> None:
        path = FOLDER / f"{name}.yaml"
        if is_update:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(_text(documents), encoding="utf-8")
        assert path.is_file(), f"no golden file {path.name}: run with --update-golden, then review it"
        assert list(yaml.safe_load_all(path.read_text(encoding="utf-8"))) == list(documents)

    return compare


def _text(documents: Sequence[Any]) -> str:
    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, _data: object) -> bool:
            return True

    return yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, width=110, explicit_start=True)
