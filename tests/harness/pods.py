"""The pods behind a balancer: added when they are ready, ended as Kubernetes ends them."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness.balancer import Answer, Balancer
from harness.probers import Traffic
from harness.server import ServerProcess

_START_SECONDS = 60.0
_END_SECONDS = 60.0  # beyond the drain delay


@dataclass(slots=True)
class Pods:
    """Servers behind `balancer`, made by `start`; times are monotonic, by pid."""

    balancer: Balancer
    start: Callable[[], ServerProcess]
    joined_at: dict[int, float] = field(default_factory=dict)
    terminated_at: dict[int, float] = field(default_factory=dict)

    def launch(self, count: int) -> list[ServerProcess]:
        """Start this many pods in parallel; each gets traffic as soon as it is ready."""
        starting = [self.start() for _ in range(count)]
        for pod in starting:
            pod.wait_ready(_START_SECONDS)
            assert pod.metrics("arrivals_total") == 0, "asked before it was ready"
            self.joined_at[pod.pid] = time.monotonic()
            self.balancer.add(pod)
        return starting

    def terminate(self, pod: ServerProcess, *, lag_seconds: float) -> None:
        """SIGTERM; new connections still come for a while."""
        self.terminated_at[pod.pid] = time.monotonic()
        pod.terminate()
        self.balancer.drop(pod, after_seconds=lag_seconds)

    def wait_ended(self, pods: Sequence[ServerProcess], *, delay_seconds: float) -> None:
        """Wait until all have exited with 0."""
        codes = {pod.pid: pod.wait(delay_seconds + _END_SECONDS) for pod in pods}
        assert set(codes.values()) == {0}, codes

    def interrupt(self, pods: Sequence[ServerProcess]) -> None:
        """End the remaining pods in parallel and without their drain delay."""
        for pod in pods:
            pod.signal(signal.SIGINT)
        self.wait_ended(pods, delay_seconds=0)

    def wait_dropped(self, pod: ServerProcess, timeout_seconds: float) -> None:
        """Wait until it gets no new connections; it may have ended long before."""
        end = time.monotonic() + timeout_seconds
        while pod in self.balancer.pods:
            assert time.monotonic() < end
            time.sleep(0.01)

    def wait_served(self, pods: Sequence[ServerProcess], more: int) -> None:
        """Wait until each of these has answered so many more requests."""
        goals = {pod.pid: self.balancer.served(pod) + more for pod in pods}
        for pod in pods:
            pod.wait_until(
                lambda one=pod: self.balancer.served(one) >= goals[one.pid],  # type: ignore[misc]
                f"asked {more} times",
                _START_SECONDS,
            )

    def is_too_early(self, answer: Answer) -> bool:
        """Whether it is from a pod that had not been ready yet."""
        return answer.started < self.joined_at.get(answer.pid, float("inf"))

    def is_of_ending(self, answer: Answer) -> bool:
        """Whether its pod had got SIGTERM when it came; the request may have been there before."""
        return answer.ended >= self.terminated_at.get(answer.pid, float("inf"))


def idlest_first(pods: Sequence[ServerProcess], arrivals_before: dict[int, float]) -> list[ServerProcess]:
    """By what they say themselves, as the operator's deletion cost does: requests inside, then arrivals."""

    def activity(pod: ServerProcess) -> tuple[float, float]:
        arrivals = pod.metrics("arrivals_total") - arrivals_before[pod.pid]
        return pod.metrics("running") + pod.metrics("queue_depth"), arrivals

    return sorted(pods, key=activity)


def faults(pods: Pods, traffic: Traffic) -> list[str]:
    """Name what went wrong, by what the probers and the balancer saw; empty for a run that lost nothing."""
    answers = pods.balancer.answers
    failed = [f"failed: {one}" for one in traffic.failures]
    failed += [f"no 200: {answer}" for answer in answers if answer.status != 200]
    failed += [f"too early: {answer}" for answer in answers if pods.is_too_early(answer)]
    asked, answered = Counter(one.id for one in traffic.asked), Counter(one.id for one in answers)
    failed += [f"answered {answered[name]} times: {name}" for name in asked if answered[name] != 1]
    failed += [f"asked {asked[name]} times: {name!r}" for name in answered if asked[name] != 1]
    return failed
