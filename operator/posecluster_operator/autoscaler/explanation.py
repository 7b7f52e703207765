"""A decision in words, with its numbers: a sentence for an Event, a page for whoever is called at night.

Every figure is the decision's own. Only when fewer pods will do is looked ahead, by the decision's rule;
tests/unit/test_explanation.py lets that time pass and compares.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from posecluster_operator.autoscaler.advice import NOTHING, Case, advice
from posecluster_operator.autoscaler.memory import Need, held_seconds, lowest_size, rate_seconds
from posecluster_operator.autoscaler.values import Decision, Numbers, Policy, Samples
from posecluster_operator.models import ScalingMode
from posecluster_operator.reasons import ScalingReason

Row = tuple[str, Sequence[str]]  # a label, and its lines

_LABEL = 12
_WIDTH = 100
_MOST_NAMES = 3
_COMMAND = "kubectl "


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the operator knows of a PoseCluster: its last decision, made at `at`, and what that was made of.

    `failures`: why pods could not be read, by pod name. `now` and `at` are of one monotonic clock.
    """

    policy: Policy
    samples: Samples
    decision: Decision
    at: float
    now: float
    failures: Mapping[str, str] = field(default_factory=dict)


def explain(namespace: str, name: str, known: Known) -> str:
    """Return why this PoseCluster has the size it has now, in lines of about 100 characters."""
    decision, samples, policy = known.decision, known.samples, known.policy
    size = decision.replicas if samples.replicas is None else samples.replicas
    case = Case(
        namespace=namespace,
        name=name,
        replicas=size,
        policy=policy,
        ready=samples.ready,
        numbers=decision.numbers,
    )
    reasons = _reasons(decision)
    news = "" if size == decision.replicas else f", and is to get {decision.replicas}"
    rows: list[Row] = [
        ("Why", [reasons[0].message, *(f"Of what is known: {reason.message}" for reason in reasons[1:])]),
        ("To do", list(_to_do(reasons, case))),
        *load_rows(decision, policy),
        ("Pods", list(_pods(known))),
        ("Next", [_next(known)]),
    ]
    return page(f"{title(case)}{news}: {', '.join(reasons)}", rows)


def _to_do(reasons: Sequence[ScalingReason], case: Case) -> Iterator[str]:
    first, *others = (advice(reason, case) for reason in reasons)
    yield from first
    for lines in others:
        if not lines[0].startswith(NOTHING):
            yield from lines


def title(case: Case) -> str:
    """Return which PoseCluster it is, its size, and its bounds if it has any."""
    policy = case.policy
    bounds = f"{policy.min_replicas}-{policy.max_replicas}"
    mode = "fixed" if policy.mode is ScalingMode.FIXED else f"bounds {bounds}"
    return f"posecluster {case.namespace}/{case.name} has {pods(case.replicas)} ({mode})"


def pods(number: int) -> str:
    """Return `1 pod`, `2 pods`."""
    return f"{number} pod{'' if number == 1 else 's'}"


def page(first: str, rows: Sequence[Row]) -> str:
    """Return the first line and the rows below it, wrapped; commands stay on one line, to be copied."""
    return "\n".join([first, *(line for label, lines in rows for line in _row(label, lines))]) + "\n"


def _row(label: str, lines: Sequence[str]) -> Iterator[str]:
    margin = " " * (_LABEL + 2)
    for line in lines:
        wide = (
            [line]
            if line.startswith(_COMMAND)
            else textwrap.wrap(line, _WIDTH - len(margin), break_long_words=False, break_on_hyphens=False)
        )
        for part in wide:
            yield f"  {label:<{_LABEL}}{part}" if label else f"{margin}{part}"
            label = ""


def _reasons(decision: Decision) -> list[ScalingReason]:
    """The reason that counts, and, when not all is known, what is the reason of the rest."""
    found = [decision.blind, decision.reason] if decision.blind else [decision.reason]
    return list(dict.fromkeys(reason for reason in found if reason))


def objective_line(policy: Policy) -> str:
    """Return what users are promised."""
    objective = policy.objective
    share, latest = 100 * objective.late_share, 1000 * objective.latency_seconds
    return f"at most {share:.3g} % of the requests later than {latest:.0f} ms, or refused"


def load_rows(decision: Decision, policy: Policy) -> list[Row]:
    """Return what is asked for, what was promised, and what that wants; empty while nothing is measured."""
    numbers, load = decision.numbers, decision.load
    if numbers is None:
        return [("Objective", [objective_line(policy)])]
    history, objective = decision.state.history, policy.objective
    source = "assumed until it is measured" if history.service_seconds is None else "measured"
    service = 1000 * numbers.service_seconds
    asked = [
        f"{numbers.requests_per_second:.1f} requests/s in the last {numbers.busy_seconds:.0f} s;"
        f" {numbers.refused_per_second:.1f}/s refused now; {service:.0f} ms of a worker each ({source})"
    ]
    if load is not None:
        late = load.late_permille / 10
        asked.append(f"{load.queued} wait, {load.running} are in work; {late:g} % were late or refused")
    promised = [
        f"{objective_line(policy)}, so {_workers(objective.workers)} of a pod may be"
        f" {100 * numbers.utilisation:.0f} % busy"
    ]
    if numbers.service_seconds > objective.latency_seconds:
        promised.append(
            "More pods cannot keep it: the work of one request alone takes longer. Take a smaller"
            " spec.model.variant, faster processors, or a larger spec.scaling.objective.latencyMilliseconds."
        )
    wanted = (
        f"{numbers.steady_pods:.1f} pods for the rate and what waits, {numbers.burst_pods:.1f} for the"
        " bursts of the last seconds"
    )
    rows: list[Row] = [("Asked for", asked), ("Objective", promised), ("Wanted now", [wanted])]
    return [*rows, ("Held", list(_held(decision, numbers, policy)))]


def _workers(number: int) -> str:
    return "the one worker" if number == 1 else f"the {number} workers"


def _held(decision: Decision, numbers: Numbers, policy: Policy) -> Iterator[str]:
    if numbers.highest_pods > max(numbers.steady_pods, numbers.burst_pods):
        needs = [need for need in decision.state.history.needs if need.pods == numbers.highest_pods]
        burst = any(need.burst for need in needs)
        need = Need(at=0.0, pods=numbers.highest_pods, burst=burst)
        seconds = held_seconds(
            need, hold_seconds=numbers.hold_seconds, max_hold_seconds=policy.max_hold_seconds
        )
        yield (
            f"{numbers.highest_pods:.1f} pods were wanted {numbers.highest_age_seconds:.0f} s ago"
            f"{', by a burst' if burst else ''}: that counts for {seconds:.0f} s"
        )
    else:
        yield f"nothing: no more than now was wanted in the last {numbers.hold_seconds:.0f} s"
    if numbers.hold_seconds > policy.hold_seconds:
        yield (
            f"The hold is {numbers.hold_seconds:.0f} s instead of {policy.hold_seconds:.0f} s:"
            " an earlier step down had to be undone."
        )
    if numbers.watched_seconds < numbers.watch_seconds:
        yield (
            f"The load is known without a gap for {numbers.watched_seconds:.0f} s,"
            f" of the {numbers.watch_seconds:.0f} s that a step down takes."
        )


def _pods(known: Known) -> Iterator[str]:
    samples, load, numbers = known.samples, known.decision.load, known.decision.numbers
    ordered = known.decision.replicas if samples.replicas is None else samples.replicas
    unmeasured = known.decision.reason in (ScalingReason.NO_METRICS, ScalingReason.JUST_STARTED)
    read = (", none measured" if unmeasured else "") if load is None else f", {load.scraped_pods} read"
    rates = ""
    if load is not None and numbers is not None and numbers.measured < load.scraped_pods:
        rates = f", {numbers.measured} of them twice, which a rate takes"
    yield f"{ordered} ordered, {samples.ready} ready{read}{rates}"
    if known.now - known.at > samples.stale_seconds:
        yield f"All this was seen {known.now - known.at:.0f} s ago: the operator is late."
    if not samples.listed:
        yield "The list of pods is old: the API server does not answer."
    by_failure: dict[str, list[str]] = {}
    for pod, failure in sorted(known.failures.items()):
        by_failure.setdefault(failure, []).append(pod)
    for failure, names in by_failure.items():
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        yield f"{', '.join(names[:_MOST_NAMES])}{more}: {failure}"


def _next(known: Known) -> str:
    decision, policy = known.decision, known.policy
    size, numbers = decision.replicas, decision.numbers
    if decision.blind is ScalingReason.REPLICAS_TAKEN_OVER:
        return "nothing: the size is left to whoever set it"
    if decision.blind is ScalingReason.FIXED_SIZE:
        return "nothing: the size is spec.replicas"
    if numbers is None:
        return f"{pods(size)} until the load can be read"
    up = f"up at once when more than {pods(size)} are wanted"
    if size >= policy.max_replicas:
        up = f"never more than {policy.max_replicas} (spec.scaling.maxReplicas)"
    if size <= policy.min_replicas:
        return f"{up}; never fewer than {policy.min_replicas} (spec.scaling.minReplicas)"
    if not known.samples.listed or numbers.measured < numbers.ready or not numbers.ready:
        return f"{up}; down not before the load of every ready pod is known"
    step = next_step_down(known)
    if step is None:
        return f"{up}; not down while the load is as now"
    seconds, replicas = step
    when = f"in {seconds:.0f} s" if seconds >= 1 else "in a moment"
    return f"{up}; down to {replicas} {when} if nothing wants more until then"


def next_step_down(known: Known) -> tuple[float, int] | None:
    """Return in how many seconds the next step down comes if the load stays, and to how many pods.

    None: it does not. It comes when each earlier need that this size still serves is past its hold,
    the load was watched for a whole hold, and every ready pod is in the rate.
    """
    decision, policy, numbers = known.decision, known.policy, known.decision.numbers
    history = decision.state.history
    if numbers is None or not history.needs:
        return None
    hold, window = numbers.hold_seconds, rate_seconds(policy.hold_seconds, policy.windows)

    def left(need: Need) -> float:
        held = held_seconds(need, hold_seconds=hold, max_hold_seconds=policy.max_hold_seconds)
        return held - (known.at - need.at)

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
    missing = [tick.at + window - known.at for tick in history.ticks if tick.missing]
    seconds = max(0.0, numbers.watch_seconds - numbers.watched_seconds, *blocking, *missing)
    rest = [need for need in earlier if left(need) > seconds]
    return seconds, max(map(enough, [*rest, present]))


_BOUNDS: Mapping[ScalingReason, str] = {
    ScalingReason.AT_MAXIMUM: "maxReplicas",
    ScalingReason.AT_MINIMUM: "minReplicas",
}


def sentence(decision: Decision) -> str:
    """Return why the size is what it is, for an Event and for `status.lastScaling`; no full stop."""
    numbers = decision.numbers
    if decision.blind is ScalingReason.FIXED_SIZE:
        return f"spec.replicas is {decision.replicas}"
    bound = _BOUNDS.get(decision.reason)
    if numbers is None:
        if bound:
            return f"spec.scaling.{bound} is {decision.replicas}"
        return (decision.blind or decision.reason).message.rstrip(".")
    text = demand(numbers)
    if bound:
        return f"{text}; spec.scaling.{bound} is {decision.replicas}"
    if decision.reason is ScalingReason.DEMAND_FELL:
        return f"{text}; within {numbers.hold_seconds:.0f} s at most {numbers.highest_pods:.1f} were wanted"
    return text


def demand(numbers: Numbers) -> str:
    """Return what is asked for, and how many pods that wants."""
    rate = f"{numbers.requests_per_second:.1f} requests/s in {numbers.busy_seconds:.0f} s"
    refused, service = numbers.refused_per_second, 1000 * numbers.service_seconds
    return (
        f"{rate} ({refused:.1f}/s refused now) of {service:.0f} ms want {numbers.steady_pods:.1f} pods,"
        f" the bursts of the last seconds {numbers.burst_pods:.1f}"
    )
