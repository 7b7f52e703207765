"""Check 19 on a real cluster: allocations of workers, and a pod near its limit, end no container."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from engines.stub_engine import Command, command_png
from harness.client import Reply
from harness.e2e.agent import Agent
from harness.e2e.pods import Inside, template_pod
from harness.e2e.pose import Place
from harness.e2e.release import Release
from harness.kubernetes.waiting import wait_until
from harness.programs import find_program
from harness.recorder import RecordFigure
from harness.server import ROOT
from harness.stub import DETECT

WORKERS, DEATHS, REFUSALS = 2, 6, 50
AGAIN_SECONDS = 2.0
RESOURCES = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}

# fills the pod's memory to 95.5 % by the server's own figure, and holds it until it is stopped
_FILL = """
import json, os, time, urllib.request
held, end = [], time.monotonic() + 60
while not os.path.exists('/tmp/stop') and time.monotonic() < end:
    memory = json.load(urllib.request.urlopen('http://127.0.0.1:9090/healthz'))['memory']
    if memory['used_bytes'] < 0.955 * memory['limit_bytes']:
        held.append(b'x' * (2 << 20))
        time.sleep(0.02 if memory['used_bytes'] < 0.9 * memory['limit_bytes'] else 0.3)
    else:
        time.sleep(0.05)
"""
# how often the kernel's out-of-memory killer came, by v2 or v1
_KILLS = """
import os
name = next(one for one in ('/sys/fs/cgroup/memory.events', '/sys/fs/cgroup/memory/memory.oom_control')
            if os.path.exists(one))
print(next(line.split()[1] for line in open(name) if line.startswith('oom_kill ')))
"""

pytestmark = pytest.mark.serial

Start = Callable[..., Inside]


@pytest.fixture
def start(release: Release, place: Place) -> Start:
    """Pods as a PoseCluster of two workers has them, with the stub engine in place of the model."""
    api, engine = place.api, ROOT / "tests" / "engines" / "stub_engine.py"
    metadata = {"name": "engine", "namespace": place.namespace}
    files = {engine.name: engine.read_text(encoding="utf-8")}
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files})
    pose = place.pose(replicas=0, workersPerPod=WORKERS, resources=RESOURCES)

    def begin(name: str, **env: str) -> Inside:
        stub = {"POSECLUSTER_ENGINE": "stub_engine:StubEngine", "PYTHONPATH": "/engines"}
        pod = template_pod(pose.deployment(), name, **stub, **env)
        pod["spec"]["terminationGracePeriodSeconds"] = 1
        pod["spec"]["containers"][0]["volumeMounts"].append({"name": "engine", "mountPath": "/engines"})
        pod["spec"]["volumes"].append({"name": "engine", "configMap": {"name": "engine"}})
        api.create(pod)
        made = Inside(api, place.namespace, name)
        wait_until(made.is_ready, 60, f"{name} ready")
        return made

    return begin


def post(agent: Agent, pod: Inside, command: Command, argument: int = 0, comment: bytes = b"") -> Reply:
    url = f"http://{pod.address()}:8080{DETECT}"
    return agent.send("POST", url, body=command_png(command, argument, comment), timeout_seconds=30)


@contextmanager
def filled(pod: Inside) -> Iterator[None]:
    """A process beside the server that takes what memory is left, up to 95.5 %."""
    inside = ["--namespace", pod.namespace, pod.name, "--", "python3", "-c", _FILL]
    command = [find_program("kubectl"), "exec", *inside]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            pod.python("open('/tmp/stop', 'w').close()")
            process.wait(30)


@pytest.mark.acceptance(19)
def test_allocations_of_workers_end_no_container(
    start: Start, place: Place, record_figure: RecordFigure
) -> None:
    agent, pod = place.agent, start("shared")
    for index in range(DEATHS // WORKERS):
        wait_until(lambda: len(pod.worker_pids()) == WORKERS, 30, "all workers")
        reply = post(agent, pod, Command.GROW, index)
        assert (reply.status, reply.reason) == (503, "worker_crashed")
        assert reply.retry_after
    wait_until(lambda: post(agent, pod, Command.OK, 1).status == 200, 30, "served again")
    deaths, kills = pod.metric("worker_restarts_total", cause="crash"), int(pod.python(_KILLS))
    record_figure("container restarts", pod.restarts(), bar="0", sample=f"{deaths:.0f} deaths of workers")
    record_figure("ends by the kernel's out-of-memory killer", kills, bar="0", sample=f"{deaths:.0f}")
    assert deaths >= DEATHS - 1
    assert kills == 0

    with filled(pod):
        wait_until(lambda: post(agent, pod, Command.OK, 2).reason == "memory", 60, "refused")
        replies = [post(agent, pod, Command.OK, 0, b"%d" % index) for index in range(REFUSALS)]
        assert pod.is_ready(), "leaving the Service would help nobody"
    since = time.monotonic()
    wait_until(lambda: post(agent, pod, Command.OK, 3).status == 200, 30, "served again")
    again = time.monotonic() - since

    answers = Counter((one.status, one.reason) for one in replies)
    bar = (
        f"<= {AGAIN_SECONDS:.0f} s from the end of the process that held it (measured from free memory: 1 s)"
    )
    record_figure("refused at 95 %", answers[503, "memory"], bar=f">= {REFUSALS}", sample=REFUSALS)
    record_figure("served again after", again, bar=bar, unit="s")
    assert answers == {(503, "memory"): REFUSALS}
    assert again <= AGAIN_SECONDS
    assert pod.restarts() == 0
    assert int(pod.python(_KILLS)) == 0


@pytest.mark.acceptance(19)
@pytest.mark.control
def test_without_a_worker_share_the_kernel_kills_the_container(
    start: Start, place: Place, record_figure: RecordFigure
) -> None:
    agent, pod = place.agent, start("no-share", POSECLUSTER_WORKER_MEMORY_BYTES=str(1 << 44))
    post(agent, pod, Command.GROW)

    def killed() -> bool:
        return pod.restarts() > 0 or int(pod.python(_KILLS)) > 0

    wait_until(killed, 30, "killed by the kernel")
    record_figure("no share: ends by the kernel's out-of-memory killer", "yes", bar="yes")
