"""The server refuses to start in an unsupported environment, with one line that says what to change."""

import ast
import asyncio
import inspect
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import aiohttp
import aiohttp.http
import aiohttp.web_protocol
import pytest

import posecluster_inference
from harness.server import ROOT
from posecluster_inference.errors import InvalidSetting
from posecluster_inference.server import runtime_check
from posecluster_inference.server.http import connection, strict_parser

PROGRAM = """
from posecluster_inference.server import runtime_check
from posecluster_inference.errors import InvalidSetting
try:
    runtime_check.check()
except InvalidSetting as error:
    print("refused:", error)
else:
    print("passed")
"""


def _check(*options: str, **environment: str) -> str:
    """Run the check in an interpreter of its own."""
    path = str(Path(posecluster_inference.__file__).parents[1])
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONOPTIMIZE"}
    ended = subprocess.run(
        [sys.executable, *options, "-c", PROGRAM],
        env={**clean, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (line,) = ended.stdout.splitlines()
    return line


def test_this_environment_passes_the_runtime_check() -> None:
    assert _check() == "passed"


@pytest.mark.parametrize(
    ("options", "environment", "names"),
    [
        (["-O"], {}, "python -O"),
        ([], {"PYTHONOPTIMIZE": "1"}, "PYTHONOPTIMIZE"),
        ([], {"AIOHTTP_NO_EXTENSIONS": "1"}, "AIOHTTP_NO_EXTENSIONS"),
    ],
)
def test_an_interpreter_that_drops_checks_is_refused(
    options: list[str], environment: dict[str, str], names: str
) -> None:
    line = _check(*options, **environment)
    assert line.startswith("refused: ")
    assert names in line


@pytest.mark.parametrize("version", ["3.14.1", "3.14.5", "3.15.0", "3.15.0a1", "4.0.0", "3.100.0"])
def test_newer_parsers_pass(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp, "__version__", version)
    runtime_check.check()


@pytest.mark.parametrize("version", ["3.14.0", "3.9.99", "2.99.99", "3.14", "3.14.1rc1"])
def test_older_parsers_are_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp, "__version__", version)
    with pytest.raises(InvalidSetting, match=rf"^aiohttp {version}: 3\.14\.1 or newer is required$"):
        runtime_check.check()


def test_an_older_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 14))
    with pytest.raises(InvalidSetting, match=r"Python 3\.11"):
        runtime_check.check()


# --- undocumented parts of aiohttp ---

LATER = """
import aiohttp, aiohttp.web, aiohttp.web_protocol
aiohttp.__version__ = "3.15.0"
del aiohttp.web_protocol.MAX_MSG_QUEUE_SIZE, aiohttp.StreamReader.total_bytes
del aiohttp.web.RequestHandler._messages
from posecluster_inference.__main__ import main
raise SystemExit(main(["serve"]))
"""


def test_an_aiohttp_without_what_is_relied_on_is_refused_with_its_names() -> None:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("inference", "common"))
    ended = subprocess.run(
        [sys.executable, "-c", LATER],
        env={"PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "posecluster-inference: aiohttp 3.15.0 lacks names that are required "
        "(aiohttp.web:RequestHandler._messages, aiohttp:StreamReader.total_bytes, "
        "aiohttp.web_protocol.MAX_MSG_QUEUE_SIZE): install aiohttp>=3.14.1,<3.15\n"
    )


def test_a_connection_without_an_argument_or_a_class_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(self: object, manager: object, *, loop: object, **others: object) -> None: ...

    monkeypatch.setattr(aiohttp.web.RequestHandler, "__init__", init)
    monkeypatch.delattr(aiohttp.http, "RawRequestMessage")
    with pytest.raises(InvalidSetting) as refused:
        runtime_check.check()
    assert "aiohttp.web:RequestHandler(read_bufsize=)" in str(refused.value)
    assert "aiohttp.http:RawRequestMessage):" in str(refused.value)


def nodes(source: type | ModuleType) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(inspect.getsource(source)))


def attributes_of(source: type | ModuleType, *owners: str) -> set[str]:
    """The attributes that `source` uses of expressions that read like one of `owners`."""
    return {
        node.attr
        for node in nodes(source)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in owners
    }


def test_everything_that_connection_and_strict_parser_rely_on_is_checked() -> None:
    """A further undocumented attribute, argument or import needs its row in `RELIED_ON` or `KEYWORDS`."""
    relied_on, ours = runtime_check.RELIED_ON, connection.ClientConnection
    inherited = (attributes_of(ours, "self") - vars(ours).keys()) | attributes_of(ours, "super()")
    assert inherited - set(dir(asyncio.Protocol)) == relied_on["aiohttp.web:RequestHandler"]
    assert attributes_of(strict_parser, "self._parser") == relied_on["aiohttp.http:HttpRequestParser"]
    of_bodies = attributes_of(ours, "body") | attributes_of(strict_parser, "self._body", "body")
    assert of_bodies == relied_on["aiohttp:StreamReader"]
    of_heads = attributes_of(strict_parser, "message") | {"should_close"}  # an argument of its `_replace`
    assert of_heads == relied_on["aiohttp.http:RawRequestMessage"]
    (call,) = (
        node
        for node in nodes(ours)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__"
    )
    assert {keyword.arg for keyword in call.keywords} == runtime_check.KEYWORDS
    imported = {
        f"{node.module}.{name.name}"
        for module in (connection, strict_parser)
        for node in nodes(module)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aiohttp.")
        for name in node.names
    }
    known = {f"{module}.{name}" for module, names in relied_on.items() for name in names}
    assert imported - known == {"aiohttp.http_parser.HttpParser", "aiohttp.http_parser.RawRequestMessage"}


def test_the_strict_parser_has_every_method_that_aiohttp_may_call() -> None:
    """A method that a later aiohttp adds may be one that its protocol calls."""
    parser = aiohttp.http.HttpRequestParser
    methods = {name for name in dir(parser) if name[0] != "_" and callable(getattr(parser, name))}
    assert methods - set(vars(strict_parser.StrictParser)) == {"feed_eof"}, "only clients call feed_eof"


def test_the_refusal_names_the_range_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (required,) = (one for one in project["optional-dependencies"]["inference"] if one.startswith("aiohttp"))
    assert required == runtime_check.SUPPORTED
