"""The autoscaler of one PoseCluster: a state machine without I/O and without a clock.

A tick decides from a scrape, and returns whether a pass is needed. That pass reads the current state and
confirms the decision: it is made again, from the same samples and the state that the pass read. So a tick
alone never changes the size. After the pass has applied the size, it calls `ordered`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from posecluster_operator.resource.posecluster import ScalingMode
from posecluster_operator.scaling.policy.decision import decide
from posecluster_operator.scaling.policy.demand import PodSample
from posecluster_operator.scaling.policy.history import History
from posecluster_operator.scaling.policy.shown import Shown, next_shown
from posecluster_operator.scaling.policy.values import Decision, Policy, Samples, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """The result of a scrape: the ready pods by uid, with None for each that could not be read.

    `failures`: why it could not be read, by the pod's name. `listed`: the list of pods is recent.
    """

    pods: Mapping[str, PodSample | None]
    failures: Mapping[str, str] = field(default_factory=dict)
    listed: bool = True
    stale_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The last decision about a PoseCluster, made at `at`, and its inputs.

    `failures`: why pods could not be read, by pod name. `silent`: the pods on nodes that do not
    respond, by node name. `now` and `at` are from the same monotonic clock.
    """

    policy: Policy
    samples: Samples
    decision: Decision
    at: float
    now: float
    failures: Mapping[str, str] = field(default_factory=dict)
    silent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def fixed_decision(now: float, policy: Policy, *, replicas: int | None) -> Decision | None:
    """Return the decision when the spec sets the size; None if the load sets it, through an `Autoscaler`.

    `replicas`: the Deployment's size, or None if there is no Deployment.
    """
    if policy.mode is not ScalingMode.FIXED:
        return None
    return decide(now, Samples(replicas=replicas, ready=0), State(policy=policy))


class Autoscaler:
    """The size of one PoseCluster in mode `Auto`, with its reason and what the status shows.

    `now` is in seconds of one monotonic clock. `at` is the last tick, for which `decision` is made.
    """

    policy: Policy
    decision: Decision

    def __init__(
        self,
        now: float,
        policy: Policy,
        *,
        replicas: int | None,
        ready: int,
        last_replicas: int = 0,
        taken_over: bool = False,
    ) -> None:
        self.at = now
        self.failures: Mapping[str, str] = {}
        self.shown: Shown | None = None
        self.samples = Samples(replicas=replicas, ready=ready)
        self._newest: Mapping[str, PodSample] = {}
        # as of the previous tick; `decision` contains the history after the last tick
        self._before = History()
        self._woken: tuple[int, float] | None = None  # the size for which a pass was woken, and when
        self.confirm(now, policy, replicas=replicas, last_replicas=last_replicas, taken_over=taken_over)

    def confirm(
        self,
        now: float,
        policy: Policy,
        *,
        replicas: int | None,
        last_replicas: int = 0,
        taken_over: bool = False,
    ) -> Decision:
        """Decide again for a pass, which has just read these; see `Samples` for their meaning.

        `last_replicas`: the size in the status. A Deployment that was deleted is created again with that
        size, because it was what the load needed.
        """
        if self.samples.taken_over and not taken_over:
            # the operator sets the size again; observe a whole window before a step down
            self._before = History()
        if replicas is None:
            policy = replace(policy, fixed_replicas=max(policy.fixed_replicas, last_replicas))
        self.policy = policy
        self.samples = replace(self.samples, replicas=replicas, taken_over=taken_over)
        self._decide()
        self._show(now, resized=self._is_resized)
        return self.decision

    def ordered(self, replicas: int) -> None:
        """Take note that the Deployment has this size now."""
        self.samples = replace(self.samples, replicas=replicas)
        self._woken = None
        self._before = _with_steps_of(self.decision.state.history, self._before)

    def tick(self, now: float, scrape: Scrape) -> bool:
        """Decide from a scrape; return whether a pass has something to do: a new size, or news to show."""
        self.failures = scrape.failures
        # a silent pod's last sample counts until it is stale
        newest = {uid: sample or self._newest.get(uid) for uid, sample in scrape.pods.items()}
        self._newest = {uid: sample for uid, sample in newest.items() if sample is not None}
        # a step affects the hold only when it was applied, see `ordered`
        self._before = _with_steps_of(self._before, self.decision.state.history)
        self.at = now
        ready = len(scrape.pods)
        self.samples = replace(
            self.samples,
            # without a recent list, the number in the Deployment, which the pass read
            ready=ready if scrape.listed else max(self.samples.ready, ready),
            pods=tuple(self._newest.values()),
            listed=scrape.listed,
            stale_seconds=scrape.stale_seconds,
        )
        self._decide()
        is_due = self._is_resized and self._is_due(now)
        if is_due:
            self._woken = (self.decision.replicas, now)
        return self._show(now, resized=is_due) or is_due

    def snapshot(self, now: float) -> Snapshot:
        """Return the last decision and its inputs, to be explained at `now`."""
        return Snapshot(
            policy=self.policy,
            samples=self.samples,
            decision=self.decision,
            failures=self.failures,
            at=self.at,
            now=now,
        )

    def activity(self) -> Mapping[str, tuple[float, float]]:
        """Return how busy pods are, by uid: requests in the pod now, and arrivals since the tick before."""
        before = self._before.pods
        return {
            uid: (pod.queued + pod.running, pod.arrivals - before[uid].arrivals if uid in before else 0.0)
            for uid, pod in self._newest.items()
        }

    def _decide(self) -> None:
        self.decision = decide(self.at, self.samples, State(policy=self.policy, history=self._before))

    @property
    def _is_resized(self) -> bool:
        return self.samples.replicas not in (None, self.decision.replicas)

    def _is_due(self, now: float) -> bool:
        """Return whether to wake a pass for the size now; repeated wakes are delayed while passes fail."""
        if self._woken is None or self._woken[0] != self.decision.replicas:
            return True
        return now - self._woken[1] >= self.policy.windows.wake_again_seconds

    def _show(self, now: float, *, resized: bool) -> bool:
        """Choose what the status shows; return whether it changed."""
        before = self.shown
        self.shown = next_shown(now, self.decision, before, resized=resized)
        return self.shown is not before


def _with_steps_of(steps: History, history: History) -> History:
    """Return `history` with the effects of the steps in `steps` on the hold."""
    return replace(history, lowered_at=steps.lowered_at, doublings=steps.doublings)
