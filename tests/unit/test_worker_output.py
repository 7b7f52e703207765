"""What a worker writes to standard error becomes a bounded number of lines of the log."""

import asyncio
import logging
import os
from contextlib import suppress

import pytest

from posecluster_inference.server.workers import output
from posecluster_inference.server.workers.output import WorkerOutput

PID = 7
FLOOD = b"flood\n" * 10_000


async def _log_of(written: bytes, caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """Write to a pipe, close it, and return the fields of the records."""
    reader, writer = os.pipe()
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    class Watched(WorkerOutput):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            ended.set()

    await loop.connect_read_pipe(lambda: Watched(PID), os.fdopen(reader, "rb", buffering=0))
    os.set_blocking(writer, False)
    while written:
        with suppress(BlockingIOError):
            written = written[os.write(writer, written) :]
        await asyncio.sleep(0)
    os.close(writer)
    await asyncio.wait_for(ended.wait(), 10)
    return [record.fields for record in caplog.records if record.name == output.__name__]  # type: ignore[attr-defined]


async def test_each_line_is_a_record_with_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    logged = await _log_of(b"first\n\nsecond \xff\nunfinished", caplog)
    assert logged == [{"pid": PID, "text": text} for text in ("first", "second \\xff", "unfinished")]


async def test_a_long_line_is_split(caplog: pytest.LogCaptureFixture) -> None:
    logged = await _log_of(b"x" * 300 + b"\n", caplog)
    assert "".join(str(fields["text"]) for fields in logged) == "x" * 300
    assert max(len(str(fields["text"])) for fields in logged) <= 128


async def test_a_flood_is_counted_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    logged = await _log_of(FLOOD, caplog)
    assert len(logged) == output._LINES + 1
    assert logged[-1] == {"pid": PID, "lines": 10_000 - output._LINES}


@pytest.mark.control
async def test_without_the_limit_a_flood_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_LINES", 1 << 30)
    assert len(await _log_of(FLOOD, caplog)) == 10_000


async def test_a_worker_that_writes_too_much_waits_for_the_next_period(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_PERIOD_SECONDS", 0.2)
    monkeypatch.setattr(output, "_BYTES", 1_000)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await _log_of(b"x\n" * 150_000, caplog)
    assert loop.time() - began > 0.2
