"""An operator with 1,024 descriptors scrapes 1,000 pods, and everything else still has descriptors."""

import threading
from collections.abc import Callable

import pytest

from harness import processes
from harness.kubernetes.api import Api
from harness.kubernetes.loaded_pods import LoadedPods
from harness.kubernetes.operator import COMMAND, OperatorProcess
from harness.kubernetes.sizes import auto, wait_ticks
from harness.kubernetes.waiting import posecluster
from harness.limits import descriptor_limits, limited
from harness.recorder import RecordFigure

LIMIT, PODS, CLUSTERS = 1_024, 1_000, ("a", "b")
WARNING = "Limit on open files is too low, pods are scraped in turns"


@pytest.mark.timeout(300)
def test_a_thousand_pods_are_scraped_within_a_limit_of_1024(
    api: Api,
    namespace: str,
    pods: LoadedPods,
    start_operator: Callable[..., OperatorProcess],
    record_figure: RecordFigure,
) -> None:
    operator = start_operator(command=limited(COMMAND, soft=LIMIT, hard=LIMIT))
    assert descriptor_limits(operator.pid) == (str(LIMIT), str(LIMIT))
    each = PODS // len(CLUSTERS)
    for name in CLUSTERS:
        pods.of(name)
        api.create(posecluster(name, namespace, scaling=auto(each, each)))
    most, over = [0], threading.Event()

    def count() -> None:
        while not over.wait(0.005):
            most[0] = max(most[0], processes.descriptors(operator.pid))

    counting = threading.Thread(target=count)
    counting.start()
    try:
        operator.wait_until(lambda: operator.metrics("scraped_pods") == PODS, "scraping all pods", 180)
        failed = operator.metrics("scrape_failures_total")
        wait_ticks(operator, 3)
    finally:
        over.set()
        counting.join()
    assert operator.metrics("scraped_pods") == PODS
    record_figure("most descriptors", most[0], bar=f"<= {LIMIT}", sample=f"{PODS} pods")
    record_figure("failed scrapes", operator.metrics("scrape_failures_total") - failed, bar="= 0")
    assert LIMIT // 3 < most[0] <= LIMIT
    assert operator.metrics("scrape_failures_total") == failed
    assert operator.logs().count(WARNING) == 1
    assert "Too many open files" not in operator.logs()
    assert operator.leader(), "the Lease was renewed all the while"
