"""One record is one line that no caller can forge, and a blocked log reader blocks nothing."""

import fcntl
import functools
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_common import log
from posecluster_common.log import LogWriter

WAITING = 10_000
STOP_SECONDS = 1.0
TextFormatter = functools.partial(log.TextFormatter, longest_value=128)
JsonFormatter = functools.partial(log.JsonFormatter, longest_value=128)


def configure(form: str, *, stop_seconds: float = STOP_SECONDS) -> LogWriter:
    return log.configure(form, longest_value=128, stop_seconds=stop_seconds)


def _record(message: str = "Refused", **values: Any) -> logging.LogRecord:
    record = logging.LogRecord("posecluster", logging.INFO, __file__, 1, message, None, None)
    record.created, record.msecs = 1_700_000_000.25, 250.0
    record.fields = values
    return record


@pytest.fixture
def _own_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        (503, "503"),
        (0.5, "0.5"),
        (None, "None"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', '"say \\"x\\""'),
        ("a\nb", '"a\\nb"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("\N{RIGHT-TO-LEFT OVERRIDE}", '"\\u202e"'),
        ("x" * 500, "x" * 128),
    ],
)
def test_a_text_line_has_time_level_message_and_fields(value: object, written: str) -> None:
    line = TextFormatter().format(_record(key=value))
    assert line == f"2023-11-14T22:13:20.250Z INFO Refused key={written}"


def test_a_json_line_keeps_numbers_as_numbers() -> None:
    line = json.loads(JsonFormatter().format(_record(status=503, caller="a\nb", long="x" * 500)))
    assert line == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "INFO",
        "message": "Refused",
        "status": 503,
        "caller": "a\nb",
        "long": "x" * 128,
    }


@given(values=st.dictionaries(st.sampled_from("abc"), st.text(max_size=300), max_size=3))
def test_no_value_can_forge_a_line_or_a_field(values: dict[str, str]) -> None:
    line = TextFormatter().format(_record(**values))
    assert line.isprintable()
    unquoted = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
    assert unquoted.count("=") == len(values)
    assert unquoted.count(" ") == 2 + len(values)
    json_line = JsonFormatter().format(_record(**values))
    assert json_line.isprintable()
    assert set(values) < set(json.loads(json_line))


HOSTILE_MESSAGES = [
    ("Error handling\nFAKE line", "Error handling\\nFAKE line"),
    ("\x1b[2J", "\\u001b[2J"),
    ("\N{RIGHT-TO-LEFT OVERRIDE}", "\\u202e"),
    ("\udcff", "\\udcff"),
    ("x" * 3_000, "x" * 2_048),
    ("two words", "two words"),
]


@pytest.mark.parametrize(("message", "written"), HOSTILE_MESSAGES)
def test_a_message_of_another_library_cannot_forge_a_line(message: str, written: str) -> None:
    assert TextFormatter().format(_record(message)) == f"2023-11-14T22:13:20.250Z INFO {written}"


@given(message=st.text(max_size=300))
def test_any_message_is_one_printable_line(message: str) -> None:
    assert TextFormatter().format(_record(message)).isprintable()
    line = JsonFormatter().format(_record(message))
    assert line.isprintable()
    assert json.loads(line)["message"] == message


@pytest.mark.usefixtures("_own_root_logger")
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_written_once(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    writer = configure(form)
    try:
        raise ValueError("the cause")
    except ValueError:
        logging.getLogger("posecluster").exception("Failed")
    writer.stop()
    written = capfd.readouterr().err
    assert written.count("Traceback") == 1
    assert written.count("ValueError: the cause") == 1
    if form == "json":
        assert json.loads(written)["traceback"].startswith("Traceback")


@pytest.mark.usefixtures("_own_root_logger")
def test_lines_are_in_order_and_below_the_level_are_omitted(capfd: pytest.CaptureFixture[str]) -> None:
    writer = configure("json")
    logger = logging.getLogger("posecluster")
    for number in range(100):
        logger.debug("Detail")
        logger.info("Line", extra={"fields": {"number": number}})
    writer.stop()
    assert not writer.is_alive()
    lines = capfd.readouterr().err.splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(100))


@pytest.mark.usefixtures("_own_root_logger")
def test_text_that_is_not_valid_unicode_is_still_written(capfd: pytest.CaptureFixture[str]) -> None:
    writer = configure("text")
    logging.getLogger("posecluster").error("Failed", exc_info=(ValueError, ValueError("\udcff"), None))
    writer.stop()
    assert "ValueError: \\udcff" in capfd.readouterr().err


@pytest.fixture
def stuck_reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A pipe in place of stderr; returns its unread end."""
    read_end, write_end = os.pipe()
    monkeypatch.setattr(log, "_STDERR", write_end)
    yield read_end
    os.close(read_end)
    os.close(write_end)


def _read_lines(descriptor: int, writer: LogWriter) -> list[bytes]:
    """Read until the writer has ended and the pipe is empty."""
    os.set_blocking(descriptor, False)
    data = b""
    while True:
        ended = not writer.is_alive()
        try:
            data += os.read(descriptor, 1 << 16)
        except BlockingIOError:
            if ended:
                return data.splitlines()
            writer.join(0.01)


@pytest.mark.usefixtures("_own_root_logger")
def test_a_blocked_log_reader_blocks_nothing_and_fills_no_memory(stuck_reader: int) -> None:
    writer = configure("text", stop_seconds=0.05)
    most_in_a_pipe = fcntl.fcntl(stuck_reader, fcntl.F_GETPIPE_SZ) // len(
        "2026-11-22T20:23:08.463Z INFO Refused\n"
    )
    lines = most_in_a_pipe + WAITING + 500
    for _ in range(lines):
        logging.getLogger("posecluster").info("Refused")
    assert writer.records.qsize() <= WAITING
    writer.stop()
    assert writer.is_alive(), "the pipe was never full"
    ending = threading.Thread(target=writer.records.put, args=(None,))
    ending.start()
    assert WAITING <= len(_read_lines(stuck_reader, writer)) < lines
    ending.join()


def test_a_process_ends_although_its_log_is_not_read() -> None:
    script = (
        "import logging; from posecluster_common import log\n"
        "writer = log.configure('text', longest_value=128, stop_seconds=1.0)\n"
        "for _ in range(20_000): logging.info('Refused')\n"
        "writer.stop()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(log.__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE) as process:
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()
