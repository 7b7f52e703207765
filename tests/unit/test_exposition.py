"""Parsing of a pod's /metrics: what our server writes is read, and nothing else is accepted."""

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from harness import metrics_text
from posecluster_inference.metrics import Metrics
from posecluster_operator.scaling.exposition import NAMES, BadMetrics, read_sample
from posecluster_operator.scaling.policy.demand import MAX_COUNTER

pytestmark = pytest.mark.unit

BY_REASON = {"posecluster_refused_total", "posecluster_failed_total"}
PLAIN = [name for name in NAMES if name not in BY_REASON]
REASONS = r"[a-z_ ,]+"  # nothing of the text, no figure


def server() -> Metrics:
    metrics = Metrics()
    metrics.gauge("queue_depth", "Detections waiting for a worker now", lambda: 7)
    metrics.gauge("queue_limit", "Places in the queue", lambda: 64)
    metrics.gauge("running", "Detections in compute now", lambda: 2)
    metrics.arrivals.inc(12_345_678)
    metrics.completed.inc(12_000_000)
    metrics.failed.labels("undecodable").inc(5)
    metrics.failed.labels("worker_hung").inc(2)
    metrics.refused.labels("queue_full").inc(300)
    metrics.refused.labels("deadline").inc(45)
    metrics.late.inc(999_999)
    metrics.busy_seconds.inc(0.00001)
    return metrics


TEXT = server().text(list(NAMES))


def with_line(name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The text with the first sample of this name changed."""
    made, times = re.subn(
        rb"(?m)^" + name.encode() + rb"[{ ].*$", lambda found: change(found[0]), TEXT, count=1
    )
    assert times == 1
    return made


def with_value(name: str, value: str) -> bytes:
    return with_line(name, lambda line: line.rpartition(b" ")[0] + b" " + value.encode())


def failure(text: bytes) -> str:
    with pytest.raises(BadMetrics) as caught:
        read_sample(text, name="a", at=1.0)
    assert re.fullmatch(REASONS, str(caught.value))
    return str(caught.value)


@pytest.mark.parametrize("names", [list(NAMES), []], ids=["asked", "all"])
def test_the_servers_own_metrics_are_parsed(names: list[str]) -> None:
    sample = read_sample(server().text(names), name="uid", at=17.0)
    assert (sample.name, sample.at) == ("uid", 17.0)
    assert (sample.arrivals, sample.refused, sample.late) == (12_345_678, 345, 999_999)
    assert sample.completed == 12_000_007, "a request that failed was work as well"
    assert (sample.busy_seconds, sample.queued, sample.running) == (0.00001, 7, 2)
    assert abs(sample.started - time.time()) < 60
    assert sample.credible(17.0)


def test_a_fake_pod_exposes_the_same_metrics_as_a_server() -> None:
    """Else the tests of the scraper would prove little."""

    def shape(text: bytes) -> dict[str, tuple[str, list[object]]]:
        families = text_string_to_metric_families(text.decode())
        return {one.name: (one.type, [sample.labels for sample in one.samples]) for one in families}

    counters = metrics_text.Counters(0.0, 1_700_000_000.0, metrics_text.Load())
    assert shape(metrics_text.body(counters, NAMES, None)) == shape(TEXT)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "+Inf",
        "Inf",
        "-Inf",
        "-1.0",
        "-0.0",
        "1e308",
        "1e999",
        str(2**53),
        "9.007199254740992e+015",
        "1_0",
        "0x1",
        "1.",
        ".5",
        "1e",
        "",
        " 1",
        "1 ",
        "1 1700000000000",
        "1,5",
        "one",
        "\u0661",
        "1\r",
        "9" * 5_000,
    ],
)
def test_a_value_that_is_no_plain_number_is_refused(name: str, value: str) -> None:
    assert failure(with_value(name, value)) == f"{name} has an invalid value"


@pytest.mark.parametrize("name", PLAIN)
def test_a_value_of_the_largest_counter_is_read(name: str) -> None:
    sample = read_sample(with_value(name, str(2**53 - 1)), name="a", at=1.0)
    values = [getattr(sample, field) for field in sample.__dataclass_fields__]
    assert max(value for value in values if isinstance(value, float)) >= MAX_COUNTER - 1


def test_a_sum_past_the_largest_counter_is_refused() -> None:
    text = re.sub(rb"(?m)^(posecluster_refused_total\{.*\}) .*$", rb"\1 9007199254740991", TEXT)
    assert failure(text) == "posecluster_refused_total has an invalid value"


MAY_BE_ABSENT = {"posecluster_failed_total", "posecluster_refused_total", "process_start_time_seconds"}


@pytest.mark.parametrize("name", sorted(MAY_BE_ABSENT))
def test_a_series_that_does_not_exist_yet_counts_as_zero(name: str) -> None:
    text = re.sub(rb"(?m)^" + name.encode() + rb"[{ ].*\n", b"", TEXT)
    sample = read_sample(text, name="a", at=1.0)
    whole = read_sample(TEXT, name="a", at=1.0)
    assert (sample.arrivals, sample.busy_seconds) == (whole.arrivals, whole.busy_seconds)


@pytest.mark.parametrize("name", sorted(set(NAMES) - MAY_BE_ABSENT))
def test_a_name_that_is_missing_is_refused(name: str) -> None:
    text = re.sub(rb"(?m)^" + name.encode() + rb"[{ ].*\n", b"", TEXT)
    assert failure(text) == f"{name} is missing"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("between", [b"\n", b"\n# HELP a b\n", b"\nother 1\n"])
def test_a_line_that_is_there_twice_is_refused(name: str, between: bytes) -> None:
    text = with_line(name, lambda line: line + between + line)
    assert failure(text) == f"{name} occurs twice"


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("labels", [b"{}", b'{reason="a"}', b'{pod="other"}', b"{"])
def test_labels_where_none_belong_are_refused(name: str, labels: bytes) -> None:
    text = with_line(name, lambda line: line.replace(b" ", labels + b" "))
    assert failure(text) == f"{name} has unexpected labels"


@pytest.mark.parametrize("name", sorted(BY_REASON))
@pytest.mark.parametrize(
    "labels",
    [
        "",
        "{}",
        '{reason=""}',
        '{reason="a",pod="b"}',
        '{pod="b",reason="a"}',
        '{reason="A"}',
        '{reason="a"',
        '{reason="a" }',
        "{reason=a}",
        '{cause="a"}',
        '{reason="\\""}',
        '{reason="' + "a" * 65 + '"}',
    ],
)
def test_labels_other_than_a_reason_are_refused(name: str, labels: str) -> None:
    text = with_line(name, lambda line: f"{name}{labels} 1.0".encode())
    assert failure(text) == f"{name} has unexpected labels"


def test_a_reason_that_is_new_is_counted() -> None:
    """A newer server may have one more: what it refused is demand all the same."""
    text = TEXT + b'posecluster_refused_total{reason="of_tomorrow"} 10\n'
    assert read_sample(text, name="a", at=1.0).refused == 355


@pytest.mark.parametrize(
    "line",
    [
        b"go_goroutines NaN",
        b'a:b{c="} 1",d="\\"\xff"} -1e999 5',
        b"posecluster_arrivals 1",
        b"x {",
        b"",
        b"# EOF",
        b"posecluster_arrivals_total_total 1",
        b"# posecluster_arrivals_total 1",
        b"posecluster_late_created NaN",
    ],
)
def test_metrics_of_other_names_are_ignored(line: bytes) -> None:
    expected = read_sample(TEXT, name="a", at=1.0)
    for text in (line + b"\n" + TEXT, TEXT + line + b"\n"):
        assert read_sample(text, name="a", at=1.0) == expected


@pytest.mark.parametrize(
    "line",
    [
        b" posecluster_arrivals_total 5",
        b"\tx 1",
        b"7 1",
        b"\xff\xfe",
        b"<html>",
        b"x",
        b"x\t1",
        b"x=1",
        b"{a} 1",
        b"\r",
        b'{"posecluster_arrivals_total"} 5',
        b"posecluster_arrivals_total",
        b"posecluster_arrivals_total\t5",
    ],
)
def test_a_malformed_line_makes_the_whole_scrape_invalid(line: bytes) -> None:
    assert failure(TEXT + line + b"\n") == "a line is not a sample"


def test_truncated_metrics_are_never_read_as_lower_values() -> None:
    expected = read_sample(TEXT, name="a", at=1.0)
    assert TEXT.endswith(b"\n")
    for end in range(len(TEXT)):
        if TEXT[end - 1 : end] == b"\n":
            continue  # between lines: only the length of the answer shows it
        assert failure(TEXT[:end]) == "the last line is incomplete"
    assert read_sample(TEXT + b"\n", name="a", at=1.0) == expected


@given(st.lists(st.tuples(st.integers(0, len(TEXT) - 1), st.binary(max_size=3)), min_size=1, max_size=4))
def test_whatever_is_changed_the_result_is_credible_or_refused(changes: list[tuple[int, bytes]]) -> None:
    text = TEXT
    for place, part in changes:
        text = text[:place] + part + text[place + 1 :]
    try:
        sample = read_sample(text, name="a", at=1.0)
    except BadMetrics as error:
        refused: BadMetrics | None = error
    else:
        refused = None
        # that counters fit each other is for the scaler to judge, which asks the same question
        counters_fit = max(sample.completed, sample.refused) <= sample.arrivals
        assert sample.credible(1.0) is counters_fit
    assert refused is None or re.fullmatch(REASONS, str(refused))


SIZE = 262_144
HOSTILE = {
    "newlines": b"\n" * SIZE,
    "lines": b"a 1\n" * (SIZE // 4),
    "few long lines": (b"a" * 127 + b" 1\n") * 1_990 + b"\n",
    "one name": b"a" * SIZE + b"\n",
    "one reason": b'posecluster_refused_total{reason="' + b"a" * SIZE + b"\n",
    "one number": b"posecluster_arrivals_total " + b"1" * SIZE + b"\n",
    "labels": b"a{" + b'l="x",' * (SIZE // 6) + b"} 1\n",
    "quotes": b'a{l="' + b'\\"' * (SIZE // 2) + b'"} 1\n',
}


def seconds_to_read(read: Callable[[], object]) -> float:
    start = time.thread_time()
    with pytest.raises(BadMetrics):
        read()
    return time.thread_time() - start


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_input_blocks_the_event_loop(kind: str) -> None:
    """Measured: 6 ms at most."""
    assert seconds_to_read(lambda: read_sample(HOSTILE[kind], name="a", at=1.0)) < 0.1


@pytest.mark.control
def test_the_librarys_parser_would_block_the_event_loop() -> None:
    """Why there is one of our own; 1 s where 2 GHz do it."""
    start = time.thread_time()
    list(text_string_to_metric_families(HOSTILE["quotes"].decode()))
    assert time.thread_time() - start > 0.2
