"""Check 34 on a real cluster: the pool has the size of the CPU limit, and is hardly throttled."""

import json

import pytest

from harness.e2e.agent import Agent
from harness.e2e.cluster import INFERENCE_IMAGE
from harness.e2e.pods import HARDENED, Inside, bare_pod_spec
from harness.e2e.pose import Place
from harness.e2e.release import Release
from harness.kubernetes.waiting import Json, wait_until
from harness.recorder import RecordFigure
from harness.throttling import Throttling

# limit -> workers; None: no limit, as many as the processors that it may use
QUOTAS: dict[str | None, int] = {"500m": 1, "1": 1, "1500m": 2, "2": 2, None: 0}
THROTTLED_SHARE, LEAST_PERIODS = 0.05, 100
TARGET_SHARE = 0.6  # of what the pod can do
_FIGURES = """
import glob, json, os
text = next(open(name).read() for name in
            ('/sys/fs/cgroup/cpu.stat', '/sys/fs/cgroup/cpu/cpu.stat', '/sys/fs/cgroup/cpu,cpuacct/cpu.stat')
            if os.path.exists(name))
stat = dict(line.split() for line in text.splitlines())
def field(pid, name):
    return next(line.split()[1] for line in open(f'/proc/{pid}/status') if line.startswith(name))
pids = [name.split('/')[2] for name in glob.glob('/proc/[0-9]*/stat')]
workers = [pid for pid in pids if field(pid, 'PPid:') == '1']
threads = [int(field(pid, 'Threads:')) for pid in workers]
periods, throttled = (int(stat.get(name, 0)) for name in ('nr_periods', 'nr_throttled'))
print(json.dumps({'periods': periods, 'throttled': throttled, 'threads': threads,
                  'allowed': len(os.sched_getaffinity(0))}))
"""

pytestmark = pytest.mark.serial


def pod(place: Place, name: str, cpu: str | None, **env: str) -> Inside:
    """A pod of the image, outside of any PoseCluster, with this CPU limit."""
    values = {"POSECLUSTER_HOST": "0.0.0.0", "POSECLUSTER_MODEL_VARIANT": "lite"}
    values |= {"POSECLUSTER_CACHE_ENTRIES": "0", "POSECLUSTER_DRAIN_DELAY_MS": "0", **env}
    # without a CPU limit there is a worker for each of the node's processors, be they sixteen
    limits = {"memory": "1Gi", "cpu": cpu} if cpu else {"memory": "6Gi"}
    container = {
        "name": "inference",
        "image": INFERENCE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": key, "value": text} for key, text in values.items()],
        "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": limits},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9090}, "periodSeconds": 1},
        "securityContext": HARDENED,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = bare_pod_spec(container) | {"volumes": [{"name": "tmp", "emptyDir": {}}]}
    metadata = {"name": name, "namespace": place.namespace}
    place.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return Inside(place.api, place.namespace, name)


def figures(of: Inside) -> Json:
    found: Json = json.loads(of.python(_FIGURES))
    return found


def at_target_load(agent: Agent, of: Inside, *, share: float) -> Throttling:
    """Ask for this share of what the pod shows that it can do, until enough periods have passed."""
    url = f"http://{of.address()}:8080"
    rate = agent.capacity(url)
    before = figures(of)

    def passed() -> bool:
        return bool(figures(of)["periods"] - before["periods"] >= LEAST_PERIODS)

    with agent.traffic(url, new=0, kept=2, every_seconds=2 / rate / share) as traffic:
        wait_until(passed, 60, "enough periods")
        after = figures(of)
    assert traffic.failures == []
    return Throttling(after["periods"] - before["periods"], after["throttled"] - before["throttled"])


@pytest.mark.acceptance(34)
def test_the_pool_has_the_quotas_size_and_is_hardly_throttled(
    release: Release, place: Place, record_figure: RecordFigure
) -> None:
    agent = place.agent
    pods = {cpu: pod(place, f"quota-{cpu or 'none'}", cpu) for cpu in QUOTAS}
    threads = set()
    for cpu, one in pods.items():
        wait_until(one.is_ready, 90, f"{one.name} ready")
        seen, workers = figures(one), len(one.health()["workers"])
        expected = QUOTAS[cpu] or seen["allowed"]
        record_figure(f"workers at a limit of {cpu}", workers, bar=f"= {expected}")
        assert workers == len(seen["threads"]) == expected
        threads |= set(seen["threads"])
    assert len(threads) == 1, f"workers size themselves by something: {threads}"
    for cpu, one in pods.items():
        if cpu != "1":
            place.api.delete("pods", place.namespace, one.name)

    found = at_target_load(agent, pods["1"], share=TARGET_SHARE)
    record_figure("throttled periods", found.share * 100, bar="<= 5", unit="%", sample=found.periods)
    assert found.share <= THROTTLED_SHARE


@pytest.mark.acceptance(34)
@pytest.mark.control
def test_a_pool_of_the_nodes_size_is_throttled(
    release: Release, place: Place, record_figure: RecordFigure
) -> None:
    """More workers than the limit, all busy: they can only overrun it if the node has more to give."""
    one = pod(place, "node-sized", "500m", POSECLUSTER_WORKERS="2")
    agent = place.agent
    wait_until(one.is_ready, 60, "ready")
    found = at_target_load(agent, one, share=1.0)
    record_figure(
        "throttled periods, node-sized pool", found.share * 100, bar="> 5", unit="%", sample=found.periods
    )
    assert found.share > THROTTLED_SHARE
