"""Reconciliation of one PoseCluster: read the current state, apply the children, write the status."""

import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from random import Random

from posecluster_operator.admin.metrics import Metrics
from posecluster_operator.admin.namespaces import Namespaces
from posecluster_operator.builders import Inputs, desired_children
from posecluster_operator.builders.table import CHILDREN, CLIENT_SERVICE, INFERENCE_DEPLOYMENT, Ident
from posecluster_operator.errors import Forbidden, InvalidSpec, Rejected
from posecluster_operator.kube.client import Kube
from posecluster_operator.kube.events import Recorder
from posecluster_operator.kube.kinds import POSECLUSTERS
from posecluster_operator.kube.lease import Lease
from posecluster_operator.reconcile.apply import Applied, Applier, unreadable
from posecluster_operator.reconcile.children import Carryover, Children, blocked_by, read_children
from posecluster_operator.reconcile.readiness import ready_generation
from posecluster_operator.reconcile.repairs import RepairPace, Repairs
from posecluster_operator.reconcile.rollout_diagnosis import Failure
from posecluster_operator.reconcile.rollout_queue import (
    RolloutQueue,
    any_rolling_out,
    has_old_pods,
    is_rolling_out,
    starts_rollout,
)
from posecluster_operator.reconcile.scaling_status import scaled
from posecluster_operator.reconcile.status import (
    applied_generation,
    compute_status,
    lasting_blindness,
    mark_problem,
    notices,
    repaired,
    status_patch,
)
from posecluster_operator.reconcile.stuck_rollout import keep_ready
from posecluster_operator.reconcile.work_queue import Result
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, condition, count, text
from posecluster_operator.resource.notice import Notice
from posecluster_operator.resource.parsing import parse
from posecluster_operator.resource.posecluster import PodDefaults, PoseCluster, Spec
from posecluster_operator.resource.reasons import ConditionType, ProgressingReason, ScalingReason
from posecluster_operator.scaling.cordoned_nodes import CordonedNodes
from posecluster_operator.scaling.deletion_cost import costs, set_costs
from posecluster_operator.scaling.order import Order, make_order
from posecluster_operator.scaling.policy import Decision
from posecluster_operator.scaling.scaler import Scaler, Sizing
from posecluster_operator.scaling.size_owner import size_owner

logger = logging.getLogger(__name__)

_GET = f"get {POSECLUSTERS.plural}"
# Requeue times for changes without an event: a deleted PoseCluster's children or an unmanaged object end.
_REQUEUE_SECONDS: dict[ProgressingReason | None, float] = {
    ProgressingReason.ROLLING_OUT: 1.0,
    ProgressingReason.NAME_TAKEN: 10.0,
}
# With these reasons, the size is applied all the same, so pods of a stuck rollout are moved too.
_SIZED = {None, ProgressingReason.ROLLOUT_QUEUED, ProgressingReason.CONTESTED}
_DENIED_SECONDS = 10.0  # between two reads that are denied; watches that are open do not tell when it ends
# A pass takes 12 ms of CPU time, so that the resync uses at most 1.3 % of a core for any number.
_RESYNC_SECONDS_EACH = 0.9
_RESYNC_JITTER = 0.1


class Reconciler:
    """Reconciles PoseClusters; the work queue calls `reconcile`."""

    def __init__(
        self,
        kube: Kube,
        *,
        lease: Lease,
        recorder: Recorder,
        scaler: Scaler,
        metrics: Metrics,
        rollouts: RolloutQueue,
        pace: RepairPace,
        namespaces: Namespaces,
        images: PodDefaults,
        version: str,
        resync_seconds: float,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        random: Random,
        nodes: CordonedNodes,
    ) -> None:
        self._kube, self._lease, self._recorder, self._metrics = kube, lease, recorder, metrics
        self._namespaces = namespaces
        self._images, self._version, self._resync_seconds = images, version, resync_seconds
        self._scaler, self._rollouts, self._pace, self._nodes = scaler, rollouts, pace, nodes
        self._now, self._monotonic, self._random = now, monotonic, random
        self._carryovers: dict[str, Carryover] = {}

    def known_keys(self) -> set[str]:
        """Return the keys of all PoseClusters that were reconciled and not deleted since."""
        return set(self._carryovers)

    async def reconcile(self, key: str) -> Result:
        """Reconcile one PoseCluster; raises OperatorError, after which the queue backs off."""
        if not self._leads():
            return Result()  # every PoseCluster is enqueued when the Lease is acquired
        namespace, _, name = key.partition("/")
        try:
            body = await self._kube.find(POSECLUSTERS, namespace, name)
        except Forbidden as error:
            # Also after the deletion of the namespace, whose Roles may be deleted first.
            if not self._leads():
                return Result()
            self._namespaces.deny(namespace, _GET, error)
            self._forget(key)
            return Result(_DENIED_SECONDS)
        self._namespaces.allow(namespace, _GET)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._forget(key)  # the garbage collector deletes the children
            return Result()
        carryover = self._carryover_of(key, body)
        carryover.check_fresh(body)
        cluster, invalid = _parse(body)
        try:
            children = await read_children(self._kube, cluster, carryover)
        except (Forbidden, Rejected) as error:
            problem = invalid or unreadable(error)
            status = mark_problem(cluster, problem, now=self._now())
            await self._patch_status(cluster, status, carryover)
            if self._leads():
                self._show_unmet(cluster, status)
            raise
        if not self._leads():
            return Result()  # the Lease was lost in the meantime
        sizing = self._size(cluster, children, invalid)
        order = self._order(children, sizing)
        applied = await self._apply(cluster, children, sizing, order, carryover, invalid)
        live = replace(children, live=applied.live)
        await self._write_status(cluster, live, sizing, order, applied, carryover)
        if applied.error is not None:
            raise applied.error
        reason = None if applied.problem is None else applied.problem.reason
        is_sized = sizing is not None and reason in _SIZED
        if is_sized and (notice := await keep_ready(self._kube, cluster, live)):
            self._recorder.emit(cluster, notice)
        left = [sizing.owner.seconds_left if sizing else None, order.seconds_left if order else None]
        soon = _REQUEUE_SECONDS.get(reason, math.inf)
        left += [one.seconds_left(self._monotonic()) for one in carryover.repairs.values()]
        return Result(min(self._resync(), soon, *(math.inf if one is None else one for one in left)))

    def _leads(self) -> bool:
        return self._lease.held

    def _carryover_of(self, key: str, body: Json) -> Carryover:
        """Return the carryover; of a deleted PoseCluster with this name, only what avoids writes."""
        uid = body["metadata"]["uid"]
        carryover = self._carryovers.get(key)
        if carryover is None or carryover.uid != uid:
            self._scaler.forget(key)
            earlier = carryover or Carryover()
            status = child(body, "status")
            carryover = self._carryovers[key] = Carryover(
                uid=uid,
                applied=earlier.applied,
                newest=earlier.newest,
                desired=count(status, "desiredReplicas") if "desiredReplicas" in status else None,
                last_scaling=child(status, "lastScaling") or None,
                applied_generation=applied_generation(status),
                repairs=self._contested(key, status),
                rolled_out=ready_generation(status),
                # an earlier process has emitted this Event
                scaling_told=blind.reason if (blind := lasting_blindness(status, now=self._now())) else "",
            )
        return carryover

    def _contested(self, key: str, status: Json) -> dict[Ident, Repairs]:
        """Return the back-off of children that an earlier process reported as contested."""
        progressing, name = condition(status, ConditionType.PROGRESSING), key.partition("/")[2]
        found = dict[Ident, Repairs]()
        if text(progressing, "reason") == ProgressingReason.CONTESTED:
            for row in CHILDREN:
                ident = row.ident(name)
                if f"{' '.join(ident)}: " in text(progressing, "message"):
                    found[ident] = Repairs(self._pace)
                    found[ident].back_off(self._monotonic())
        return found

    def _forget(self, key: str) -> None:
        self._carryovers.pop(key, None)
        self._rollouts.observe(key, is_rolling=False)
        self._scaler.forget(key)
        self._metrics.forget(*key.split("/", 1))

    def _size(self, cluster: PoseCluster, children: Children, invalid: Failure | None) -> Sizing | None:
        if cluster.paused or invalid:
            self._scaler.forget(cluster.key)
            return None
        deployment = children[INFERENCE_DEPLOYMENT]
        owner = size_owner(cluster, deployment, now=self._now())
        return self._scaler.decide(cluster, deployment, owner)

    def _order(self, children: Children, sizing: Sizing | None) -> Order | None:
        """Return the size to apply. If another client sets the size, no pods are moved."""
        if sizing is None:
            return None
        if sizing.owner.taken_over:
            return Order(desired=sizing.decision.replicas)
        return make_order(
            sizing.decision.replicas,
            deployment=children[INFERENCE_DEPLOYMENT],
            pods=children.pods_of(INFERENCE_DEPLOYMENT),
            cordoned=self._nodes.names,
            now=self._now(),
        )

    def _delays_drains(self, sizing: Sizing | None) -> bool:
        """Return whether pods of a cordoned node are replaced before they are evicted."""
        return self._nodes.known and not (sizing and sizing.owner.taken_over)

    async def _apply(
        self,
        cluster: PoseCluster,
        children: Children,
        sizing: Sizing | None,
        order: Order | None,
        carryover: Carryover,
        invalid: Failure | None,
    ) -> Applied:
        if sizing is None or order is None:
            self._rollouts.observe(cluster.key, is_rolling=any_rolling_out(children.live))
            if cluster.paused:
                carryover.repairs.clear()  # the user may have removed the cause
            return Applied(dict(children.live), invalid)
        decision = sizing.decision
        try:
            desired = desired_children(
                Inputs(
                    cluster=cluster,
                    replicas=order.replicas,
                    images=self._images,
                    version=self._version,
                    taken_over=sizing.owner.taken_over,
                    taken_back=sizing.owner.taken_back,
                    extra=order.extra,
                    moving_since=order.since,
                    delays_drains=self._delays_drains(sizing),
                    gave_way=order.gave_way,
                )
            )
        except InvalidSpec as error:
            return Applied(dict(children.live), _invalid(error))
        if blocked := blocked_by(cluster, children.live):
            return Applied(dict(children.live), blocked)
        await self._set_deletion_costs(cluster, children, decision, order)
        is_users_change = cluster.generation > carryover.applied_generation
        queued = () if is_users_change else await self._queued(cluster, desired, children)
        applier = Applier(
            self._kube,
            carryover,
            pace=self._pace,
            now=self._monotonic(),
            is_users_change=is_users_change,
            queued=queued,
        )
        live = children.live
        try:
            applied = await applier.apply(cluster, desired, children)
            live = applied.live
        finally:
            self._rollouts.observe(cluster.key, is_rolling=any_rolling_out(live), is_waiting=bool(queued))
        if not applied.error:
            carryover.applied_generation = cluster.generation
            self._scaler.ordered(cluster.key, decision.replicas)
            self._note_size(carryover, decision)
        if queued:
            applied.problem = applied.problem or self._rollouts.failure
        for kind, name in applied.repaired:
            self._metrics.count_repair(cluster.namespace, cluster.name, kind)
            self._recorder.emit(cluster, repaired(kind, name))
        return applied

    async def _queued(
        self, cluster: PoseCluster, desired: Sequence[Json], children: Children
    ) -> Collection[Ident]:
        """Return the Deployments whose rollout the operator would start by itself, if it has to wait."""
        idents = {(one["kind"], one["metadata"]["name"]): one for one in desired}
        found = [ident for ident, one in idents.items() if starts_rollout(one, children.live[ident])]
        # A rollout under way is replaced and takes no further place.
        is_replacing = any(
            is_rolling_out(children.live[one]) and has_old_pods(children.live[one]) for one in found
        )
        if not found or is_replacing or await self._rollouts.may_start(cluster.key):
            return ()
        return found

    async def _set_deletion_costs(
        self, cluster: PoseCluster, children: Children, decision: Decision, order: Order
    ) -> None:
        """Set the pods' deletion costs before the size changes because of load, or pods have been moved."""
        size = count(child(children[INFERENCE_DEPLOYMENT], "spec"), "replicas")
        if (decision.numbers is not None or order.leaving) and size not in (0, order.replicas):
            wanted = costs(
                children.pods_of(INFERENCE_DEPLOYMENT),
                self._scaler.activity(cluster.key),
                removed=size - order.replicas,
                leaving={pod["metadata"]["uid"] for pod in order.leaving},
            )
            await set_costs(self._kube, cluster.namespace, wanted)

    def _note_size(self, carryover: Carryover, decision: Decision) -> None:
        """Record a change of size, including one whose operator was killed before it reported the change."""
        before, taken_over = carryover.desired, decision.blind is ScalingReason.REPLICAS_TAKEN_OVER
        if before is None or before == decision.replicas or taken_over:
            carryover.note_size(decision.replicas)
            return
        self._metrics.count_decision(decision.reason)
        carryover.note_size(decision.replicas, scaled(decision, before=before, now=self._now()))

    async def _write_status(
        self,
        cluster: PoseCluster,
        children: Children,
        sizing: Sizing | None,
        order: Order | None,
        applied: Applied,
        carryover: Carryover,
    ) -> None:
        pods = children.pods_of(INFERENCE_DEPLOYMENT)
        status = compute_status(
            cluster,
            deployment=children[INFERENCE_DEPLOYMENT],
            service=children[CLIENT_SERVICE],
            pods=pods,
            decision=sizing.decision if sizing else None,
            shown=sizing.shown if sizing else None,
            last_scaling=carryover.last_scaling,
            rolled_out=carryover.rolled_out,
            order=order,
            silent=self._scaler.silent(cluster.key, pods),
            delays_drains=self._delays_drains(sizing),
            problem=applied.problem,
            overridden=applied.overridden,
            now=self._now(),
        )
        carryover.note_rollout(ready_generation(status))
        await self._patch_status(cluster, status, carryover)
        if self._lease.held:  # otherwise the new holder reports the metrics
            desired, ready = status["desiredReplicas"], status["readyReplicas"]
            self._metrics.show_size(cluster.namespace, cluster.name, desired=desired, ready=ready)
            self._show_unmet(cluster, status)

    def _show_unmet(self, cluster: PoseCluster, status: Json) -> None:
        unmet = [(one["type"], one["reason"]) for one in status["conditions"] if one["status"] == "False"]
        self._metrics.show_unmet(cluster.namespace, cluster.name, unmet)

    async def _patch_status(self, cluster: PoseCluster, status: Json, carryover: Carryover) -> None:
        patch = status_patch(cluster.status, status)
        if patch is not None:
            patch["metadata"] = {
                "resourceVersion": cluster.resource_version
            }  # valid only for the version that was read
            await self._kube.patch_status(POSECLUSTERS, cluster.namespace, cluster.name, patch)
        for notice in self._news(cluster, status, carryover):
            level = logging.WARNING if notice.type == "Warning" else logging.INFO
            fields = {"key": cluster.key, "reason": notice.reason, "note": notice.note}
            logger.log(level, "Condition changed", extra={"fields": fields})
            self._recorder.emit(cluster, notice)

    def _news(self, cluster: PoseCluster, status: Json, carryover: Carryover) -> tuple[Notice, ...]:
        """Return the Events to emit, including a lasting failure to read the load, once per reason."""
        found = notices(cluster.status, status)
        reason = text(condition(status, ConditionType.SCALING_ACTIVE), "reason")
        if any(notice.reason == reason for notice in found):
            carryover.note_scaling_event(reason)
        blind = lasting_blindness(status, now=self._now())
        if blind is None or carryover.scaling_told == reason:
            return found
        carryover.note_scaling_event(reason)
        return (*found, blind)

    def _resync(self) -> float:
        seconds = max(self._resync_seconds, _RESYNC_SECONDS_EACH * len(self._carryovers))
        return seconds * self._random.uniform(1 - _RESYNC_JITTER, 1 + _RESYNC_JITTER)


def _parse(body: Json) -> tuple[PoseCluster, Failure | None]:
    try:
        return parse(body), None
    except InvalidSpec as error:
        return parse(body, spec=Spec()), _invalid(error)


def _invalid(error: InvalidSpec) -> Failure:
    return Failure(ProgressingReason.INVALID_SPEC, str(error))
