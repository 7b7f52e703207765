"""One log line per answered request, as the mode asks for; refusals have no second one."""

import logging
import random

import pytest

from posecluster_inference.server.http.observation import Facts, Observer
from posecluster_inference.server.http.tracing import TraceContext
from posecluster_inference.server.workers.jobs import Answer

SAMPLED = TraceContext("", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", is_sampled=True)


def _facts(**values: object) -> Facts:
    facts = Facts("01ID", "mine", "192.0.2.7")
    for name, value in values.items():
        setattr(facts, name, value)
    return facts


def _answer(observer: Observer, facts: Facts) -> None:
    observer.answered(
        facts, method="POST", route="/v1/detect", status=200, body_bytes=9_000, began=10.0, now=10.05
    )


def _lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [vars(record)["fields"] for record in caplog.records if record.message == "Request answered"]


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_all_logs_status_sizes_and_stages(caplog: pytest.LogCaptureFixture) -> None:
    answer = Answer(b"", arrived=10.001, queue_seconds=0.004, stages={"decode": 0.002, "inference": 0.03})
    _answer(
        Observer(request_log="all"), _facts(answer=answer, body_bytes=137_000, format="jpeg", trace=SAMPLED)
    )

    (line,) = _lines(caplog)
    assert line == {
        "status": 200,
        "method": "POST",
        "route": "/v1/detect",
        "caller": "192.0.2.7",
        "request_id": "mine",
        "id": "01ID",
        "trace_id": SAMPLED.trace_id,
        "sha256": "",
        "format": "jpeg",
        "bytes": 137_000,
        "answer_bytes": 9_000,
        "duration_ms": 50.0,
        "queue_ms": 4.0,
        "decode_ms": 2.0,
        "inference_ms": 30.0,
    }


def test_none_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    _answer(Observer(request_log="none"), _facts(trace=SAMPLED))

    assert _lines(caplog) == []


def test_sampled_logs_one_in_a_hundred(caplog: pytest.LogCaptureFixture) -> None:
    observer = Observer(request_log="sampled", rng=random.Random(7))
    for _ in range(2_000):
        _answer(observer, _facts())

    assert 5 <= len(_lines(caplog)) <= 50


def test_sampled_logs_whatever_its_caller_samples(caplog: pytest.LogCaptureFixture) -> None:
    observer = Observer(request_log="sampled", rng=random.Random(7))
    for _ in range(20):
        _answer(observer, _facts(trace=SAMPLED))

    assert len(_lines(caplog)) == 20


def test_refusal_has_one_line(caplog: pytest.LogCaptureFixture) -> None:
    observer, facts = Observer(request_log="all"), _facts(reason="queue_full", trace=SAMPLED)
    observer.refused(facts, 503)
    _answer(observer, facts)

    assert [record.message for record in caplog.records] == ["Request refused"]
    assert vars(caplog.records[0])["fields"]["trace_id"] == SAMPLED.trace_id


def test_steps_follow_each_other_from_the_arrival() -> None:
    answer = Answer(b"", arrived=10.0, queue_seconds=0.5, stages={"decode": 0.25, "inference": 1.0})

    assert [(step.name, step.began, step.seconds) for step in _facts(answer=answer).steps()] == [
        ("queue", 10.0, 0.5),
        ("decode", 10.5, 0.25),
        ("inference", 10.75, 1.0),
    ]
    assert _facts().steps() == ()
