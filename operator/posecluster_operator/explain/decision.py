"""Why a PoseCluster has its size, as text with the figures of the operator's last decision.

Only the time of the next step down is computed here, by the rules that decide;
tests/unit/test_explain_decision.py verifies that this prediction is right.
"""

import textwrap
from collections.abc import Iterator, Sequence

from posecluster_operator.explain.advice import COMMAND, NOTHING, Case, advice
from posecluster_operator.resource.posecluster import ScalingMode
from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.resource.stable_text import first_names
from posecluster_operator.scaling.policy.autoscaler import Snapshot
from posecluster_operator.scaling.policy.history import Need, held_seconds, lowest_size, rate_seconds
from posecluster_operator.scaling.policy.values import Decision, Numbers, Policy, Samples
from posecluster_operator.scaling.silence import silent_advice

Row = tuple[str, Sequence[str]]  # a label, and its lines

_LABEL = 14
_WIDTH = 100


def explain(namespace: str, name: str, snapshot: Snapshot) -> str:
    """Return why this PoseCluster has its current size."""
    decision, samples, policy = snapshot.decision, snapshot.samples, snapshot.policy
    numbers = decision.numbers
    size = decision.replicas if samples.replicas is None else samples.replicas
    case = Case(
        namespace=namespace,
        name=name,
        replicas=size,
        policy=policy,
        ready=samples.ready,
        numbers=numbers,
        idle=_idle_beside_a_queue(samples, snapshot.at),
    )
    rows = [
        *(_load_rows(decision, policy, numbers) if numbers else [objective_row(policy)]),
        ("Pods", [*_pods(snapshot, size)]),
        ("Next", [_next(snapshot)]),
    ]
    news = "" if size == decision.replicas else f", and will be scaled to {decision.replicas}"
    reasons = [reason for reason in (decision.blind, decision.reason) if reason]
    urgent = silent_advice(namespace, snapshot.silent) if snapshot.silent else ()
    return explain_reasons([*dict.fromkeys(reasons)], case, rows, news=news, urgent=urgent)


def explain_reasons(
    reasons: Sequence[ScalingReason],
    case: Case,
    rows: Sequence[Row],
    *,
    news: str = "",
    urgent: Sequence[str] = (),
) -> str:
    """Return the page with these reasons, the main one first: why, what to do, and `rows`.

    `urgent`: what to do before everything that these reasons require.
    """
    first, *rest = reasons
    to_do = [*urgent] or [*advice(first, case)]
    for other in reasons if urgent else rest:
        lines = advice(other, case)
        to_do += [] if lines[0].startswith(NOTHING) else lines
    why = [first.message, *(f"According to the measured load: {other.message}" for other in rest)]
    return page(f"{title(case)}{news}: {', '.join(reasons)}", [("Why", why), ("To do", to_do), *rows])


def title(case: Case) -> str:
    """Return the PoseCluster's name and size, with its bounds if it has any."""
    policy = case.policy
    bounds = f"bounds {policy.min_replicas}-{policy.max_replicas}"
    mode = "fixed" if policy.mode is ScalingMode.FIXED else bounds
    return f"posecluster {case.namespace}/{case.name} has {pods(case.replicas)} ({mode})"


def pods(number: int) -> str:
    """Return `1 pod`, `2 pods`."""
    return f"{number} pod{'' if number == 1 else 's'}"


def page(first: str, rows: Sequence[Row]) -> str:
    """Return the first part and the rows below it, wrapped; commands stay on one line for copying."""
    lines = [first.rstrip("\n")]
    for label, texts in rows:
        for text in texts:
            lines += textwrap.wrap(
                text,
                len(text) + _LABEL if text.startswith(COMMAND) else _WIDTH,
                initial_indent=f"  {label}".ljust(_LABEL),
                subsequent_indent=" " * _LABEL,
                break_long_words=False,
                break_on_hyphens=False,
            )
            label = ""
    return "\n".join(lines) + "\n"


def objective_row(policy: Policy, then: str = "", *more: str) -> Row:
    """Return the row with the objective."""
    objective = policy.objective
    share, latest = 100 * objective.late_share, 1000 * objective.latency_seconds
    promise = f"at most {share:.3g} % of the requests take more than {latest:.0f} ms or are refused"
    return "Objective", [f"{promise}{then}", *more]


def _idle_beside_a_queue(samples: Samples, at: float) -> int:
    """Return the number of pods without requests while another has a queue and over twice the mean; or 0."""
    recent = [pod for pod in samples.pods if pod.credible(at, stale_seconds=samples.stale_seconds)]
    requests = [pod.queued + pod.running for pod in recent]
    is_uneven = any(
        pod.queued and (pod.queued + pod.running) * len(recent) > 2 * sum(requests) for pod in recent
    )
    return requests.count(0) if is_uneven else 0


def _load_rows(decision: Decision, policy: Policy, numbers: Numbers) -> list[Row]:
    load, objective = decision.load, policy.objective
    source = "assumed until it is measured" if decision.state.history.service_seconds is None else "measured"
    asked = [
        f"{numbers.requests_per_second:.1f} requests/s in the last {numbers.busy_seconds:.0f} s;"
        f" {numbers.refused_per_second:.1f}/s refused now; {1000 * numbers.service_seconds:.0f} ms of work"
        f" each ({source})"
    ]
    if load is not None:
        asked.append(load_line(load.queued, load.running, load.late_permille))
    workers = "its worker" if objective.workers == 1 else f"its {objective.workers} workers"
    too_slow = (
        "More pods cannot meet it, because a single request takes longer on an idle pod. Choose a smaller"
        " spec.model.variant, faster processors, or a larger spec.scaling.objective.latencyMilliseconds."
    )
    is_too_slow = numbers.service_seconds > objective.latency_seconds
    wanted = (
        f"{numbers.steady_pods:.1f} pods for the rate and the queued requests, {numbers.burst_pods:.1f} for"
        " bursts in the last seconds"
    )
    return [
        ("Load", asked),
        objective_row(
            policy,
            f", so a pod may keep {workers} {100 * numbers.utilisation:.0f} % busy",
            *([too_slow] if is_too_slow else []),
        ),
        ("Needed now", [wanted]),
        ("Held", [*_held(numbers, policy)]),
    ]


def load_line(queued: int, running: int, late_permille: int) -> str:
    """Return the load of all pods together."""
    return f"{queued} queued, {running} running; {late_permille / 10:g} % were late or refused"


def _held(numbers: Numbers, policy: Policy) -> Iterator[str]:
    if numbers.highest_pods > max(numbers.steady_pods, numbers.burst_pods):
        yield f"{numbers.highest_pods:.1f} pods, which were needed {numbers.highest_age_seconds:.0f} s ago"
    else:
        yield f"nothing, because the current need is the highest of the last {numbers.hold_seconds:.0f} s"
    if numbers.hold_seconds > policy.hold_seconds:
        yield (
            f"The hold window is {numbers.hold_seconds:.0f} s instead of {policy.hold_seconds:.0f} s, because"
            " an earlier step down had to be reversed."
        )
    if numbers.watched_seconds < numbers.watch_seconds:
        yield (
            f"The load has been measured without a gap for {numbers.watched_seconds:.0f} s; a step down needs"
            f" {numbers.watch_seconds:.0f} s."
        )


def _pods(snapshot: Snapshot, ordered: int) -> Iterator[str]:
    samples, load, numbers = snapshot.samples, snapshot.decision.load, snapshot.decision.numbers
    line = f"{ordered} desired, {samples.ready} ready"
    if load is not None:
        line += f", {load.scraped_pods} measured"
        if numbers is not None and numbers.measured < load.scraped_pods:
            line += f", {numbers.measured} of them twice, as a rate requires"
    elif snapshot.decision.reason in (ScalingReason.NO_METRICS, ScalingReason.JUST_STARTED):
        line += ", none measured"
    yield line
    if snapshot.now - snapshot.at > samples.stale_seconds:
        yield f"These figures are {snapshot.now - snapshot.at:.0f} s old, because the operator is overloaded."
    if not samples.listed:
        yield "The list of pods is outdated, because the API server does not respond."
    by_failure: dict[str, list[str]] = {}
    for pod, failure in sorted(snapshot.failures.items()):
        by_failure.setdefault(failure, []).append(pod)
    for failure, names in by_failure.items():
        yield f"{first_names(names)}: {failure}"


def _next(snapshot: Snapshot) -> str:
    decision, policy = snapshot.decision, snapshot.policy
    size, numbers = decision.replicas, decision.numbers
    if decision.blind is ScalingReason.REPLICAS_TAKEN_OVER:
        return "no change, because another client sets the size"
    if decision.blind is ScalingReason.FIXED_SIZE:
        return "no change, because the size is spec.replicas"
    if numbers is None:
        return f"{pods(size)} until the load can be measured"
    up = f"up as soon as more than {pods(size)} are needed"
    if size >= policy.max_replicas:
        up = f"never more than {policy.max_replicas} (spec.scaling.maxReplicas)"
    if size <= policy.min_replicas:
        return f"{up}; never fewer than {policy.min_replicas} (spec.scaling.minReplicas)"
    if not snapshot.samples.listed or numbers.measured < numbers.ready or not numbers.ready:
        return f"{up}; not down until the load of every ready pod is known"
    step = next_step_down(snapshot)
    if step is None:
        return f"{up}; not down while the load stays as it is"
    when = f"in {step[0]:.0f} s" if step[0] >= 1 else "within a second"
    return f"{up}; down to {step[1]} {when} if no more are needed until then"


def next_step_down(snapshot: Snapshot) -> tuple[float, int] | None:
    """Return the seconds until the next step down if the load stays the same, and the new size.

    None if there is no step down. It comes when the hold of each earlier need for this size has passed, the
    load has been observed for a whole hold, and the rate includes every ready pod.
    """
    decision, policy, numbers = snapshot.decision, snapshot.policy, snapshot.decision.numbers
    history = decision.state.history
    if numbers is None or not history.needs:
        return None
    hold, window = numbers.hold_seconds, rate_seconds(policy.hold_seconds, policy.windows)

    def left(need: Need) -> float:
        held = held_seconds(need, hold_seconds=hold, max_hold_seconds=policy.max_hold_seconds)
        return held - (snapshot.at - need.at)

    def enough(need: Need) -> int:
        size = lowest_size(
            need, policy.objective, service_seconds=numbers.service_seconds, rate_seconds=window
        )
        return max(policy.min_replicas, size)

    newest = history.needs[-1].at
    present = max((need for need in history.needs if need.at == newest), key=lambda need: need.pods)
    earlier = [need for need in history.needs if need.at != newest]
    if enough(present) >= decision.replicas:
        return None
    blocking = [left(need) for need in earlier if enough(need) >= decision.replicas]
    missing = [tick.at + window - snapshot.at for tick in history.ticks if tick.missing]
    seconds = max(0.0, numbers.watch_seconds - numbers.watched_seconds, *blocking, *missing)
    rest = [need for need in earlier if left(need) > seconds]
    return seconds, max(map(enough, [*rest, present]))
