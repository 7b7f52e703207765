"""One record is one line that nobody can forge, and a stuck reader of the log stops nobody."""

import io
import json
import logging
import queue
import re
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.log import JsonFormatter, TextFormatter, configure

WAITING = 10_000


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


@pytest.mark.usefixtures("_own_root_logger")
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_written_once(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    listener = configure(form)
    try:
        raise ValueError("the cause")
    except ValueError:
        logging.getLogger("posecluster").exception("Failed")
    listener.stop()
    written = stream.getvalue()
    assert written.count("Traceback") == 1
    assert written.count("ValueError: the cause") == 1
    if form == "json":
        assert json.loads(written)["traceback"].startswith("Traceback")


@pytest.mark.usefixtures("_own_root_logger")
def test_lines_come_in_order_and_details_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    listener = configure("json")
    log = logging.getLogger("posecluster")
    for number in range(100):
        log.debug("Detail")
        log.info("Line", extra={"fields": {"number": number}})
    listener.stop()
    assert [json.loads(line)["number"] for line in stream.getvalue().splitlines()] == list(range(100))


class _StuckReader(io.StringIO):
    """A log stream whose reader has stopped reading, until `goes_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def write(self, text: str) -> int:
        assert self.goes_on.wait(30)
        return super().write(text)


@pytest.mark.usefixtures("_own_root_logger")
def test_a_stuck_reader_stops_nobody_and_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _StuckReader()
    monkeypatch.setattr(sys, "stderr", stream)
    listener = configure("text")
    log = logging.getLogger("posecluster")
    for _ in range(WAITING + 500):
        log.info("Refused")
    stream.goes_on.set()
    assert isinstance(listener.queue, queue.Queue)
    while listener.queue.full():  # `stop` needs a free place
        time.sleep(0.001)
    listener.stop()
    assert WAITING <= len(stream.getvalue().splitlines()) <= WAITING + 1
