"""`make bench-operator`: the operator's scale figures with a separate API server.

Needs KUBEBUILDER_ASSETS, the folder of etcd and kube-apiserver; `make bench-operator` downloads them.
Deployments have a controller that only counts pods (the tests' player), so that the operator and not the
cluster is measured. The operator calls the API server directly: its writes are those that its own metrics
count, and a watch beside it sees when a child appears. Prints the table, keeps every figure in
build/bench-operator.json, and with --write puts the table into docs/performance.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench import page

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # the API server, the player and the operator process are the tests'

from harness.kubernetes.api import Api  # noqa: E402
from harness.kubernetes.apiserver import own_server  # noqa: E402
from harness.kubernetes.many_objects import (  # noqa: E402
    Arrivals,
    create_all,
    peak_rss,
    percentile,
    wait_all_rolled_out,
)
from harness.kubernetes.operator import OperatorProcess, start_operator  # noqa: E402
from harness.kubernetes.player import Player  # noqa: E402
from harness.kubernetes.waiting import posecluster, wait_until  # noqa: E402

_PACKAGES = ("kopf", "kubernetes", "aiohttp")
_LOAD = "the API server, etcd and the load generator"
_ONE_BY_ONE = 40
_STARTS = 5
_TAKEOVERS = 3
_WRITES = ("apply", "patch", "create", "delete")  # `update` is the Lease's
_QUIET_SECONDS = 3.0
# each of a hundred is reconciled every 90 s; of more, only as many as of a hundred in that time
_ROUND_SECONDS = 110.0
_SETTLE_SECONDS = 600.0
_MIB = 2**20
# as it runs in production; the tests' are shorter
_DEFAULTS = {"lease_seconds": 15}
# of a burst: seconds to the children, MiB and share of a core when settled
_BARS = {100: (25, 128, 0.02), 500: (120, 256, 0.02), 1_000: (None, 200, None)}
Figures = dict[str, Any]


class World:
    """An API server of its own with the CRD, a namespace, and a Deployment controller that counts."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.namespace = api.make_namespace()
        account = api.operator_account(namespaces=(), lease_namespace=self.namespace)
        self._kubeconfig = account.kubeconfig()

    @contextmanager
    def operator(self, *, wait: bool = True) -> Iterator[OperatorProcess]:
        """Run an operator for the whole cluster."""
        with start_operator(
            kubeconfig=self._kubeconfig, lease_namespace=self.namespace, **_DEFAULTS
        ) as operator:
            if wait:
                operator.wait_ready()
                operator.wait_leader()
            yield operator


@contextmanager
def world() -> Iterator[World]:
    with own_server() as server:
        api = Api(server)
        api.install_crd()
        try:
            yield World(api)
        finally:
            api.close()


def starts() -> Figures:
    """Measure imports, and the way from exec to ready and to holding a free Lease."""
    imports, ready, leader = [], [], []
    for _ in range(_STARTS):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import posecluster_operator.app"], check=True)
        imports.append(time.perf_counter() - begin)
    with world() as here:
        for _ in range(_STARTS):
            begin = time.perf_counter()
            with here.operator(wait=False) as operator:
                operator.wait_ready()
                ready.append(time.perf_counter() - begin)
                operator.wait_leader()
                leader.append(time.perf_counter() - begin)
    return {"import": median(imports), "ready": median(ready), "leader": median(leader)}


def one_by_one() -> Figures:
    """Measure one PoseCluster after the other, each settled before the next."""
    seconds = []
    with world() as here, Player(here.api, namespace=here.namespace, pods=False), here.operator() as operator:
        with Arrivals(here.api.server, here.namespace) as arrivals:
            for index in range(_ONE_BY_ONE):
                name = f"one-{index}"
                begun = create_all(here.api.server, [posecluster(name, here.namespace)])
                wait_all_rolled_out(here.api, here.namespace, [name], 30.0)
                seconds += arrivals.seconds(begun).values()
        return {"seconds": seconds, "peak_mib": peak_rss(operator.pid) / _MIB}


def burst(count: int, settled_seconds: float) -> Figures:
    """Measure so many PoseClusters at once, and what they cost when they are settled.

    The latter over a whole round of reconciling a hundred, if not over `settled_seconds`: right after
    a burst all were reconciled just now, so that a shorter time might show nothing at all.
    """
    settled_seconds = settled_seconds or _ROUND_SECONDS
    with world() as here, Player(here.api, namespace=here.namespace, pods=False), here.operator() as operator:
        names = [f"burst-{index}" for index in range(count)]
        before = _writes(operator)
        with Arrivals(here.api.server, here.namespace) as arrivals:
            begin = time.monotonic()
            begun = create_all(here.api.server, [posecluster(name, here.namespace) for name in names])
            wait_all_rolled_out(here.api, here.namespace, names, _SETTLE_SECONDS)
            settled = time.monotonic() - begin
            seconds = list(arrivals.seconds(begun).values())
        _wait_quiet(operator)
        figures = {"seconds": seconds, "settled": settled, "peak_mib": peak_rss(operator.pid) / _MIB}
        figures["writes_each"] = (_writes(operator) - before) / count
        before, used, since = _writes(operator), operator.cpu_seconds(), time.monotonic()
        passes = operator.metrics("reconcile_total")
        time.sleep(settled_seconds)
        figures["cpu"] = (operator.cpu_seconds() - used) / (time.monotonic() - since)
        figures["quiet_writes"] = _writes(operator) - before
        figures["quiet_passes"] = operator.metrics("reconcile_total") - passes
        figures["quiet_seconds"] = settled_seconds
        return figures | {"rss_mib": operator.rss() / _MIB}


def takeovers() -> Figures:
    """Measure the time without a leader after the leader is killed, and after it ends in order."""
    killed, ended = [], []
    with world() as here:
        for _ in range(_TAKEOVERS):
            for how, times in ((OperatorProcess.kill, killed), (OperatorProcess.terminate, ended)):
                with here.operator() as first, here.operator(wait=False) as second:
                    second.wait_ready()
                    begin = time.monotonic()
                    how(first)
                    second.wait_leader(60.0)
                    times.append(time.monotonic() - begin)
    return {"killed": max(killed), "ended": max(ended)}


def _writes(operator: OperatorProcess) -> float:
    return sum(operator.metrics("api_requests_total", verb=verb) for verb in _WRITES)


def _wait_quiet(operator: OperatorProcess) -> None:
    last, since = _writes(operator), time.monotonic()

    def quiet() -> bool:
        nonlocal last, since
        if (now := _writes(operator)) != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > _QUIET_SECONDS

    wait_until(quiet, _SETTLE_SECONDS, "no more writes")


def table(figures: Figures) -> str:
    """Return the figures as Markdown."""
    start, one, takeover = figures["start"], figures["one"], figures["takeover"]
    rows = [
        (
            "one PoseCluster to its children, p50 and p95",
            f"{percentile(one['seconds'], 0.5):.3f}, {percentile(one['seconds'], 0.95):.3f} s",
            "p95 ≤ 1 s",
        ),
        ("  peak resident memory", f"{one['peak_mib']:.0f} MiB", "≤ 150 MiB"),
    ]
    for count, found in figures["bursts"].items():
        seconds, mib, cpu = _BARS.get(count, (None, None, None))
        p50, p95 = (percentile(found["seconds"], share) for share in (0.5, 0.95))
        passes = f"{found['quiet_passes']:.0f} passes, {found['quiet_writes']:.0f} writes"
        rows += [
            (
                f"{count:,} at once to their children, p50 and p95",
                f"{p50:.1f}, {p95:.1f} s",
                f"p95 ≤ {seconds} s" if seconds else "",
            ),
            ("  all pods ready, as far as the operator knows", f"{found['settled']:.1f} s", ""),
            ("  writes for each, to settled", f"{found['writes_each']:.1f}", "≤ 8"),
            ("  peak resident memory", f"{found['peak_mib']:.0f} MiB", ""),
            (
                f"  settled for {found['quiet_seconds']:.0f} s: processor ({passes})",
                f"{found['cpu']:.1%} of a core",
                f"≤ {cpu:.0%}; 0 writes" if cpu else "0 writes",
            ),
            ("  settled: resident memory", f"{found['rss_mib']:.0f} MiB", f"≤ {mib} MiB" if mib else ""),
        ]
    rows += [
        ("Lease taken over from a killed operator, longest", f"{takeover['killed']:.1f} s", "≤ 30 s"),
        ("  from one that ended in order", f"{takeover['ended']:.1f} s", ""),
        ("imports", f"{start['import']:.2f} s", ""),
        ("start to ready; to leading", f"{start['ready']:.2f}; {start['leader']:.2f} s", ""),
    ]
    machine = f"{page.machine(_PACKAGES, _LOAD)}; {_ONE_BY_ONE} one by one, medians of {_STARTS} starts."
    return "\n".join([machine, "", *page.table(rows)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.operator", description=__doc__)
    parser.add_argument("--count", type=int, nargs="+", default=[100, 500, 1_000], help="sizes of the bursts")
    parser.add_argument("--seconds", type=int, default=0, help="to measure settled ones; 0: 110")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args(arguments)
    if not os.environ.get("KUBEBUILDER_ASSETS"):
        sys.stderr.write("bench.operator: set KUBEBUILDER_ASSETS to the folder of etcd and kube-apiserver\n")
        return 1
    if os.getloadavg()[0] > 0.5:
        sys.stderr.write(f"bench.operator: the machine is busy (load {os.getloadavg()[0]:.1f})\n")
    figures: Figures = {"start": starts(), "one": one_by_one(), "bursts": {}}
    for count in options.count:
        figures["bursts"][count] = burst(count, options.seconds)
        print(f"{count} at once: done", flush=True)
    figures["takeover"] = takeovers()
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench-operator.json").write_text(json.dumps(figures, indent=1))
    text = table(figures)
    print(text)
    if options.write:
        page.fill("bench-operator", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
