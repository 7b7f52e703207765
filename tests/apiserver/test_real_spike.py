"""A spike of real requests on a real inference server: from the first request to the larger size."""

import asyncio
import os
import time
from pathlib import Path

from harness.bars import bar_text
from harness.kubernetes.api import Api
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.sizes import size_writes, wait_change, wait_ticks
from harness.kubernetes.waiting import posecluster
from harness.load import open_loop
from harness.metrics_pod import PORT
from harness.recorder import RecordFigure
from harness.server import start_server
from harness.stub import DETECT, Slow

LONG = os.environ.get("POSECLUSTER_LONG") == "1"
SPIKE_SECONDS = 2.0
SHARED_SPIKE_SECONDS = SPIKE_SECONDS if LONG else 4.0
SERVICE_MS = 30
RATE, SECONDS = 120.0, 4.0  # nearly twice what two workers can answer


def test_a_spike_on_a_real_server_is_decided_at_once(
    api: Api,
    namespace: str,
    player: Player,
    operator: OperatorProcess,
    proxy: FaultProxy,
    tmp_path: Path,
    record_figure: RecordFigure,
) -> None:
    api.create(posecluster("demo", namespace, scaling={"mode": "Auto", "maxReplicas": 8}))
    api.wait_ready(namespace, "demo")
    (pod,) = player.ready_pods(namespace, "demo-pose")
    with start_server(
        engine="stub",
        folder=tmp_path,
        host=pod["status"]["podIP"],
        admin_port=PORT,
        workers=2,
        latency_objective_ms=250,
    ) as server:
        api.wait_condition(namespace, "demo", "ScalingActive", status="True")
        wait_ticks(operator, 2)
        assert size_writes(proxy, "demo")[-1].size == 1
        pictures = Slow(SERVICE_MS)
        begin = time.monotonic()
        load = asyncio.run(open_loop(server.url + DETECT, pictures.picture, rate=RATE, seconds=SECONDS))
        write = wait_change(proxy, "demo", since=begin, up=True)
        took = write.time - begin
        assert len(load.of(200)) >= 0.4 * RATE * SECONDS, load.summary()
        arrived = server.metrics("arrivals_total")
    assert arrived == RATE * SECONDS
    record_figure(
        "spike on a real server to decision",
        took,
        bar=bar_text(f"<= {SHARED_SPIKE_SECONDS:.0f} s", f"<= {SPIKE_SECONDS:.0f} s"),
        unit="s",
        sample=f"{len(load.outcomes)} requests",
    )
    assert took <= SHARED_SPIKE_SECONDS
    assert write.before == 1
    shown = api.get("poseclusters", namespace, "demo")["status"]
    assert shown["lastScaling"]["to"] >= write.size >= 2
