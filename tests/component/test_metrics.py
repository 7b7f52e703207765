"""Each metric of docs/operations.md has its name and kind, and counts what is documented."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engines.stub_engine import Command, command_png
from harness import client
from harness.pictures import tiny_png
from harness.server import ServerProcess
from harness.stub import DETECT, Slow, send_many, wait_waiting

# name -> (kind, labels); counters without `_total`, as the exposition's families are named
CONTRACT: dict[str, tuple[str, set[str]]] = {
    "arrivals": ("counter", set()),
    "refused": ("counter", {"reason"}),
    "completed": ("counter", set()),
    "failed": ("counter", {"reason"}),
    "busy_seconds": ("counter", set()),
    "late": ("counter", set()),
    "queue_depth": ("gauge", set()),
    "queue_limit": ("gauge", set()),
    "connections_limit": ("gauge", set()),
    "answer_bytes": ("gauge", set()),
    "running": ("gauge", set()),
    "workers": ("gauge", {"state"}),
    "worker_sandbox": ("gauge", {"layer"}),
    "request_duration_seconds": ("histogram", {"route"}),
    "queue_wait_seconds": ("histogram", set()),
    "stage_seconds": ("histogram", {"stage"}),
    "http_requests": ("counter", {"route", "method", "code"}),
    "connections_closed": ("counter", {"reason"}),
    "worker_restarts": ("counter", {"cause"}),
    "cache_requests": ("counter", {"result"}),
    "connections": ("gauge", set()),
    "build_info": ("gauge", {"version", "engine", "task", "variant"}),
}
EXTRA = {"process_start_time_seconds"}  # by its usual name, without our prefix
REFUSED = {"queue_full", "deadline", "draining", "starting", "memory"}
FAILED = {"worker_crashed", "worker_hung", "undecodable", "picture_too_large", "malformed"}
STATES = {"ready", "busy", "starting", "failed"}
# of the stub's, slower than the objective here
OBJECTIVE_MS = 150
LATE = Slow(300, "late")
PROMPT = Slow(0, "prompt")
Start = Callable[..., ServerProcess]


def families(server: ServerProcess, query: str = "") -> dict[str, tuple[str, list[dict[str, str]]]]:
    """Kind and the samples' labels of each family, without prefix."""
    text = client.get(server.admin_url + "/metrics" + query).body.decode()
    return {
        family.name.removeprefix("posecluster_"): (family.type, [sample.labels for sample in family.samples])
        for family in text_string_to_metric_families(text)
    }


def detect(server: ServerProcess, body: bytes, **headers: str) -> int:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(server.url + DETECT, body, headers=fields).status


def numbers(server: ServerProcess, *names: str) -> list[float]:
    return [server.metrics(name) for name in names]


@pytest.mark.smoke
def test_every_name_of_the_contract_is_there(start: Start) -> None:
    server = start(engine="stub")
    detect(server, PROMPT.picture(0), Accept="image/png")
    found = families(server)
    assert found.keys() - CONTRACT.keys() <= EXTRA
    assert CONTRACT.keys() <= found.keys()
    for name, (kind, labels) in CONTRACT.items():
        seen_kind, samples = found[name]
        assert seen_kind == kind, name
        assert all(sample.keys() - {"le"} == labels for sample in samples), name


def test_rates_have_a_zero_to_start_from(start: Start) -> None:
    """A counter that appears with its first event shows no increase, so all exist from the start."""
    found = families(start(engine="stub"))
    assert {labels["reason"] for labels in found["refused"][1]} == REFUSED
    assert {labels["reason"] for labels in found["failed"][1]} == FAILED
    assert {labels["state"] for labels in found["workers"][1]} == STATES


def test_a_scrape_can_select_names(start: Start) -> None:
    """As the operator does: ten lines instead of two hundred."""
    server = start(engine="stub")
    asked = "?name[]=posecluster_arrivals_total&name[]=posecluster_workers&name[]=posecluster_queue_depth"
    assert families(server, asked).keys() == {"arrivals", "workers", "queue_depth"}
    assert client.get(server.admin_url + "/metrics?name[]=unknown").status == 200


def test_detections_are_counted_by_their_end(start: Start) -> None:
    server = start(workers=1, engine="stub", latency_objective_ms=OBJECTIVE_MS)
    assert [detect(server, PROMPT.picture(index)) for index in range(3)] == [200] * 3
    assert detect(server, LATE.picture(0)) == 200
    assert detect(server, PROMPT.picture(0)) == 200  # kept
    assert detect(server, b"no picture at all") == 415
    assert detect(server, b"") == 400
    broken = tiny_png()[:-30]
    assert detect(server, broken) == 422
    names = ("arrivals_total", "completed_total", "late_total", "queue_wait_seconds_count")
    # the broken picture's header may be fine, then it was for a worker to find out: see below
    by_worker = server.metrics("failed_total", reason="undecodable")
    assert numbers(server, *names) == [4 + by_worker, 4, 1, 4 + by_worker]
    assert server.metrics("refused_total") == 0
    assert server.metrics("stage_seconds_count", stage="inference") == 4
    assert 0.3 <= server.metrics("busy_seconds_total") <= 3
    assert server.metrics("cache_requests_total", result="hit") == 1
    assert server.metrics("http_requests_total", route=DETECT, method="POST", code="200") == 5
    assert server.metrics("http_requests_total", route=DETECT, method="POST", code="415") == 1
    assert server.metrics("request_duration_seconds_count", route=DETECT) == 8
    assert server.metrics("request_duration_seconds_bucket", le="+Inf", route=DETECT) == 8


def test_refusals_are_demand_and_late(start: Start) -> None:
    server = start(workers=1, engine="stub", queue_length=2, deadline_ms=30_000)
    with ExitStack() as stack:
        send_many(server, stack, [Slow(1_500).picture(index) for index in range(3)])
        wait_waiting(server, queued=2, running=1)
        gauges = numbers(server, "queue_depth", "queue_limit", "running")
        assert gauges == [2, 2, 1]
        assert server.metrics("workers", state="busy") == 1
        assert server.metrics("connections") == 3
        assert [detect(server, PROMPT.picture(index)) for index in range(5)] == [503] * 5
        assert detect(server, PROMPT.picture(9), X_Request_Timeout_Ms="1") == 504
    assert numbers(server, "arrivals_total", "late_total") == [9, 6]
    assert server.metrics("refused_total", reason="queue_full") == 5
    assert server.metrics("refused_total", reason="deadline") == 1
    wait_waiting(server, queued=0)
    server.wait_until(lambda: server.metrics("connections") == 0, "all connections gone")


def test_lost_workers_are_counted_by_cause(start: Start) -> None:
    server = start(workers=2, engine="stub", hang_limit_ms=500)
    assert detect(server, command_png(Command.KILL, 0, b"kills two")) == 503
    server.wait_until(lambda: server.metrics("workers", state="ready") == 2, "both back")
    assert detect(server, command_png(Command.HANG, 0, b"hangs")) == 504
    assert server.metrics("worker_restarts_total", cause="crash") == 2
    assert server.metrics("worker_restarts_total", cause="hang") == 1
    assert server.metrics("failed_total", reason="worker_crashed") == 1
    assert server.metrics("failed_total", reason="worker_hung") == 1
    assert numbers(server, "arrivals_total", "completed_total", "refused_total") == [2, 0, 0]


def test_callers_cannot_make_labels(start: Start) -> None:
    """Unknown paths and methods are counted in a few fixed series."""
    server = start(engine="stub")
    for index in range(20):
        client.get(f"{server.url}/wp-admin/{index}")
        client.request(f"ODD{index}", server.url + DETECT)
    found = families(server)["http_requests"][1]
    assert {labels["route"] for labels in found} <= {"unknown", DETECT, "/v1/model", "/healthz"}
    assert {labels["method"] for labels in found} <= {"GET", "POST", "other"}


def test_each_stage_is_measured(start: Start) -> None:
    server = start(engine="stub")
    assert detect(server, PROMPT.picture(0), Accept="image/jpeg") == 200
    stages = ("decode", "inference", "draw", "encode")
    assert [server.metrics("stage_seconds_count", stage=stage) for stage in stages] == [1] * 4
