"""The operator's log: one record is one line of at most 4 KiB, and kopf cannot flood it."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_common.log import LONGEST_LINE_BYTES, JsonFormatter, LogWriter, TextFormatter
from posecluster_operator import log
from posecluster_operator.log import Calm

pytestmark = pytest.mark.unit

TEXT, JSON = TextFormatter(longest_value=512), JsonFormatter(longest_value=512)


def record(
    message: str = "Applied", *, name: str = "posecluster_operator", **values: Any
) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.ERROR, __file__, 1, message, None, None)
    made.created, made.msecs = 1_700_000_000.25, 250.0
    made.fields = values
    return made


@pytest.fixture
def _own_loggers() -> Iterator[None]:
    root = logging.getLogger()
    names = ("kopf", "aiohttp.access", "asyncio")
    handlers, level = root.handlers, root.level
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    logging.captureWarnings(capture=False)
    root.handlers = handlers
    root.setLevel(level)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)


def test_a_text_line_has_time_level_message_and_fields() -> None:
    line = TEXT.format(record(key="a b", kind="Service", seconds=0.5))
    assert line == '2023-11-14T22:13:20.250Z ERROR Applied key="a b" kind=Service seconds=0.5'


def test_a_json_line_keeps_numbers_as_numbers() -> None:
    assert json.loads(JSON.format(record(key="a/b", seconds=0.5))) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "ERROR",
        "message": "Applied",
        "key": "a/b",
        "seconds": 0.5,
    }


@given(
    message=st.text(max_size=50).map(lambda text: text * 200),
    values=st.dictionaries(st.sampled_from("abc"), st.text(max_size=9).map(lambda text: text * 300)),
    traceback=st.none() | st.text(max_size=9).map(lambda text: text * 700),
)
def test_no_line_is_longer_than_4_kib(message: str, values: dict[str, str], traceback: str | None) -> None:
    made = record(message, **values)
    made.exc_text = traceback
    line = JSON.format(made)
    assert len(line.encode()) < LONGEST_LINE_BYTES
    assert line.isprintable()
    assert json.loads(line)["level"] == "ERROR"
    for line in TEXT.format(made).split("\n"):
        assert len(line.encode()) < LONGEST_LINE_BYTES
        assert line.isprintable()


def test_many_fields_do_not_make_a_line_too_long() -> None:
    made = record("Applied", **{f"key{number}": "\u202e" * 100 for number in range(100)})
    line = JSON.format(made)
    assert len(line) < LONGEST_LINE_BYTES
    assert json.loads(line)["message"] == "Applied"


@given(values=st.dictionaries(st.sampled_from("abc"), st.text(max_size=300), max_size=3))
def test_no_value_can_forge_a_line_or_a_field(values: dict[str, str]) -> None:
    line = TEXT.format(record(**values))
    unquoted = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
    assert line.isprintable()
    assert unquoted.count("=") == len(values)


def test_a_traceback_is_indented_so_that_no_line_of_it_looks_like_a_record() -> None:
    made = record()
    made.exc_text = "ValueError: one\n2026-01-01T00:00:00.000Z INFO Forged"
    assert TEXT.format(made).splitlines()[1:] == [
        "  ValueError: one",
        "  2026-01-01T00:00:00.000Z INFO Forged",
    ]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def kopf_record(message: str, name: str = "kopf._cogs.clients.api") -> logging.LogRecord:
    return record(message, name=name)


def test_a_long_outage_is_logged_once_a_minute_and_not_as_an_error() -> None:
    clock = Clock()
    calm = Calm(clock)
    passed = []
    for attempt in range(1, 601):
        clock.now += 1
        made = kopf_record(f"Request attempt #{attempt} failed; will retry: GET /x -> TimeoutError()")
        if calm.filter(made):
            passed.append(made)
    assert len(passed) == 10
    assert {made.levelname for made in passed} == {"WARNING"}
    assert calm.filter(kopf_record("Watcher for pods has failed"))


def test_kopfs_messages_on_signals_and_cleanup_are_dropped() -> None:
    assert not Calm().filter(kopf_record("OS signals are ignored: running not in the main thread."))
    assert not Calm().filter(kopf_record("Cleanup activity is not executed at all due to cancellation."))


def test_kopfs_messages_on_denied_reads_are_dropped() -> None:
    message = (
        "Request attempt #7 failed; will retry: GET /api/v1/namespaces/a/pods -> APIForbiddenError('no')"
    )
    assert not Calm().filter(kopf_record(message))


def test_tracebacks_of_our_handlers_are_kept_and_those_of_kopf_dropped() -> None:
    error = ValueError("x")
    ours, kopfs = kopf_record("Handler failed", name="kopf.objects"), kopf_record("Task failed")
    for made in (ours, kopfs):
        made.exc_info = (ValueError, error, None)
        assert Calm().filter(made)
    assert ours.exc_info
    assert kopfs.exc_info is None


def test_our_own_lines_are_never_dropped() -> None:
    calm = Calm()
    assert all(calm.filter(record("Reconciliation failed")) for _ in range(100))
    assert record("Reconciliation failed").levelname == "ERROR"


@pytest.mark.usefixtures("_own_loggers")
@pytest.mark.parametrize("form", ["text", "json"])
def test_lines_reach_stderr_in_order_without_debug_messages(
    form: str, capfd: pytest.CaptureFixture[str]
) -> None:
    writer = log.configure(form)
    for number in range(50):
        logging.getLogger("posecluster_operator").info("Line", extra={"fields": {"number": number}})
    logging.getLogger("aiohttp.access").info("GET /livez")
    logging.getLogger("kopf.activities").info("Initial authentication has been initiated.")
    logging.getLogger("posecluster_operator").debug("Detail")
    writer.stop()
    assert not writer.is_alive()
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 50
    assert "49" in lines[-1]
    if form == "json":
        assert [json.loads(line)["number"] for line in lines] == list(range(50))


@pytest.mark.usefixtures("_own_loggers")
def test_a_traceback_is_written_once(capfd: pytest.CaptureFixture[str]) -> None:
    writer = log.configure("text")
    try:
        raise ValueError("the cause")
    except ValueError:
        logging.getLogger("posecluster_operator").exception("Failed")
    writer.stop()
    written = capfd.readouterr().err
    assert written.count("Traceback") == 1
    assert written.count("ValueError: the cause") == 1


def test_a_line_that_cannot_be_formatted_does_not_end_the_writer() -> None:
    broken = logging.LogRecord("x", logging.INFO, __file__, 1, "%d", ("no number",), None)
    assert b"cannot be formatted" in LogWriter(TEXT, stop_seconds=0.2)._line(broken)
    assert io.BytesIO(LogWriter(JSON, stop_seconds=0.2)._line(broken)).readline().endswith(b"\n")
