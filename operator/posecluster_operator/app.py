"""The process of `posecluster-operator run`: start, operation and orderly shutdown."""

import asyncio
import logging
import os
import secrets
import signal
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from random import SystemRandom

from posecluster_operator import __version__
from posecluster_operator.admin.health import Health
from posecluster_operator.admin.metrics import CONTENT_TYPE, Metrics
from posecluster_operator.admin.namespaces import Namespaces
from posecluster_operator.admin.server import Port
from posecluster_operator.builders.table import INFERENCE_DEPLOYMENT
from posecluster_operator.descriptors import pod_connections
from posecluster_operator.errors import Forbidden, KubeError
from posecluster_operator.explain.endpoint import Explainer
from posecluster_operator.kube.client import Kube, connect
from posecluster_operator.kube.credentials import own_namespace
from posecluster_operator.kube.events import Recorder
from posecluster_operator.kube.kinds import POSECLUSTERS
from posecluster_operator.kube.lease import UNACKNOWLEDGED_SHARE, Lease
from posecluster_operator.kube.preflight import report_old_crd, wait_for_crd, wait_for_permissions
from posecluster_operator.reconcile.reconciler import Reconciler
from posecluster_operator.reconcile.repairs import PACE, RepairPace
from posecluster_operator.reconcile.rollout_queue import RolloutQueue, rolling_keys
from posecluster_operator.reconcile.work_queue import Result, WorkQueue
from posecluster_operator.scaling.cordoned_nodes import CordonedNodes
from posecluster_operator.scaling.pod_list import PodList
from posecluster_operator.scaling.policy.windows import WINDOWS, Windows
from posecluster_operator.scaling.scaler import Scaler
from posecluster_operator.scaling.scraper import Scraper
from posecluster_operator.settings import Settings
from posecluster_operator.watch.kopf_runner import Watcher, watches

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 5.0
_EVERY = "*"  # in a key, all PoseClusters of a namespace; no PoseCluster can have this name
_LIST = f"list {POSECLUSTERS.plural}"
_DENIED_SECONDS = 15.0  # between two lists of the PoseClusters of a namespace in which that is denied
# The shutdown after a signal takes one second in total.
_RELEASE_SECONDS = 0.5
_WATCHER_SECONDS = 0.2
_STOP_SECONDS = 0.8


async def run(settings: Settings, *, windows: Windows = WINDOWS, pace: RepairPace = PACE) -> int:
    """Run until SIGTERM or SIGINT and return the exit code. Raises OperatorError; OSError for the port."""
    asked_to_stop = _catch_signals()
    process = _Process(settings, windows, pace)
    # The port comes first, because the API server may be unavailable for long and probes need responses.
    await process.listen()
    work = asyncio.create_task(process.operate(), name="operate")
    stop = asyncio.create_task(asked_to_stop.wait(), name="stop")
    await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        logger.info("Stopping")
        work.cancel()
        await asyncio.wait([work], timeout=_STOP_SECONDS)
    stop.cancel()
    await process.port.stop()
    if asked_to_stop.is_set():
        logger.info("Stopped")
        return 0
    error = work.exception()
    if isinstance(error, ExceptionGroup):
        logger.error("A background task ended", exc_info=error)
        return 1
    assert error is not None, "`operate` runs until it is cancelled"
    raise error


class _Process:
    """The parts that exist before the API server is reached: the admin port and its data sources."""

    def __init__(self, settings: Settings, windows: Windows, pace: RepairPace) -> None:
        self.settings, self.windows, self.pace = settings, windows, pace
        self.metrics = Metrics(version=__version__)
        self.namespaces = Namespaces(settings.watched_namespaces)
        self.health = Health(stall_seconds=settings.stall_seconds, namespaces=self.namespaces)
        self.metrics.show_namespaces(self.namespaces.names, self.health.watches)
        self.explainer = Explainer()
        self.port = Port(
            metrics=self.metrics.text,
            content_type=CONTENT_TYPE,
            live=self.health.live,
            ready=self.health.ready,
            explain=self.explainer.explain,
        )
        connections = pod_connections(watches=len(watches(settings.watched_namespaces)))
        self.scraper = Scraper(
            seconds=windows.scrape_seconds, monotonic=time.monotonic, connections=connections
        )

    async def listen(self) -> None:
        """Start to answer probes."""
        taken = await self.port.start(self.settings.host, self.settings.port)
        fields = {"host": ", ".join(host for host, _ in taken), "port": taken[0][1]}
        logger.info("Listening", extra={"fields": fields})

    async def operate(self) -> None:
        """Run the operator until cancelled; then release the Lease."""
        settings, metrics, health = self.settings, self.metrics, self.health
        lease_namespace = settings.lease_namespace or await asyncio.to_thread(own_namespace) or "default"
        kube = await connect(
            request_seconds=settings.request_timeout_seconds,
            connect_seconds=min(_CONNECT_SECONDS, settings.request_timeout_seconds),
            on_call=metrics.count_call,
            unacknowledged_seconds=settings.lease_seconds * UNACKNOWLEDGED_SHARE,
        )
        try:
            health.pause("checking the operator's permissions")
            await wait_for_permissions(
                kube,
                namespaces=settings.watched_namespaces,
                lease_namespace=lease_namespace,
                lease_name=settings.lease_name,
                say=health.pause,
            )
            health.pause("waiting for the CRD")
            await wait_for_crd(kube)
            await report_old_crd(kube)
            await Operator(self, kube, lease_namespace=lease_namespace).run()
        finally:
            await kube.close()


class Operator:
    """The parts that reconcile PoseClusters, and the callbacks between them."""

    def __init__(self, process: _Process, kube: Kube, *, lease_namespace: str) -> None:
        settings = process.settings
        self._process, self._kube = process, kube
        self._namespaces = process.namespaces
        self._loop = asyncio.get_running_loop()
        random = SystemRandom()
        identity = settings.identity or os.environ.get("POD_ID") or _made_up_identity()
        self._lease = Lease(
            kube,
            namespace=lease_namespace,
            name=settings.lease_name,
            identity=identity,
            seconds=settings.lease_seconds,
            on_change=self._lease_changed,
        )
        kube.limit_writes(self._lease.write_seconds)
        self._recorder = Recorder(kube, instance=identity)
        self._pod_list = PodList(
            kube,
            INFERENCE_DEPLOYMENT,
            namespaces=self._namespaces,
            monotonic=time.monotonic,
            wanted=self._is_scaling,
        )
        self._nodes = CordonedNodes(kube, enabled=settings.watches_nodes, changed=self._enqueue_known)
        self._scaler = Scaler(
            self._pod_list,
            process.scraper,
            metrics=process.metrics,
            monotonic=time.monotonic,
            wake=self._enqueue,
            windows=process.windows,
        )
        process.explainer.follow(self._scaler, namespaces=self._namespaces, held=lambda: self._lease.held)
        self._rollouts = RolloutQueue(
            limit=settings.concurrent_rollouts,
            rolling=lambda: rolling_keys(kube, settings.watched_namespaces),
            wake=self._enqueue,
            monotonic=time.monotonic,
        )
        process.metrics.show_queued_rollouts(lambda: self._rollouts.waiting)
        self._reconciler = Reconciler(
            kube,
            lease=self._lease,
            recorder=self._recorder,
            scaler=self._scaler,
            metrics=process.metrics,
            rollouts=self._rollouts,
            pace=process.pace,
            namespaces=self._namespaces,
            images=settings.images,
            version=__version__,
            resync_seconds=settings.resync_seconds,
            now=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
            random=random,
            nodes=self._nodes,
        )
        self._queue = WorkQueue(
            self._reconcile, workers=settings.workers, on_done=process.metrics.count_pass, random=random
        )
        process.metrics.show_queue_depth(lambda: self._queue.depth)
        process.health.look_at_queue(
            oldest_key=self._queue.oldest_seconds, longest_pass=self._queue.longest_pass_seconds
        )
        self._watcher = Watcher(
            kube.access,
            namespaces=settings.watched_namespaces,
            inactivity_seconds=settings.watch_inactivity_seconds,
            instance=identity,
            random=random,
            wake=self._wake_from_thread,
            listed=self._listed_in_thread,
            on_call=process.metrics.count_call,
            health=process.health,
            wait_for_crd=lambda: wait_for_crd(kube),
        )

    async def run(self) -> None:
        """Run all parts until cancelled; then release the Lease."""
        try:
            # Otherwise the first passes would abandon moves that an earlier process has begun.
            await self._nodes.refresh()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._lease.run(), name="lease")
                tasks.create_task(self._queue.run(), name="queue")
                tasks.create_task(self._recorder.run(), name="recorder")
                tasks.create_task(self._pod_list.run(), name="pod list")
                tasks.create_task(self._nodes.run(), name="nodes")
                tasks.create_task(self._scaler.run(), name="scaler")
                tasks.create_task(self._watcher.run(), name="watcher")
                tasks.create_task(self._process.health.run(), name="health")
        finally:
            # After a cancelled write, which the API server may still execute, the Lease is not released, so
            # that the next operator waits until the Lease expires.
            if not self._kube.cut_short:
                with suppress(TimeoutError, KubeError):
                    async with asyncio.timeout(_RELEASE_SECONDS):
                        await self._lease.release()
            await self._process.scraper.close()
            await self._watcher.ended(_WATCHER_SECONDS)

    async def _reconcile(self, key: str) -> Result:
        namespace, _, name = key.partition("/")
        return await (self._enqueue_all(namespace) if name == _EVERY else self._reconciler.reconcile(key))

    async def _enqueue_all(self, namespace: str) -> Result:
        """Enqueue the known and the existing PoseClusters of a watched namespace."""
        if not self._lease.held:
            return Result()
        try:
            found = await self._kube.list(POSECLUSTERS, namespace or None)
        except Forbidden as error:
            self._namespaces.deny(namespace, _LIST, error)
            return Result(_DENIED_SECONDS)
        self._namespaces.allow(namespace, _LIST)
        for one in found:
            self._queue.add(f"{one['metadata']['namespace']}/{one['metadata']['name']}")
        for key in self._reconciler.known_keys():
            if self._namespaces.of(key) == namespace:
                self._queue.add(key)
        return Result()

    def _lease_changed(self, held: bool) -> None:
        self._process.metrics.show_leader(held)
        if held:
            for namespace in self._namespaces.names:
                self._queue.add(f"{namespace}/{_EVERY}")
        else:
            self._namespaces.forget()
            self._process.metrics.forget_all()
            self._scaler.forget_all()
            self._rollouts.clear()

    def _is_scaling(self) -> bool:
        return self._lease.held and self._scaler.active

    def _enqueue(self, key: str) -> None:
        self._queue.add(key)

    def _enqueue_known(self) -> None:
        for key in self._reconciler.known_keys():
            self._queue.add(key)

    def _wake_from_thread(self, key: str, seconds: float) -> None:
        with suppress(RuntimeError):  # the loop is closed, because the process is ending
            self._loop.call_soon_threadsafe(self._queue.add_after, key, seconds)
            self._loop.call_soon_threadsafe(self._pod_list.touch, key)

    def _listed_in_thread(self) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._enqueue_known)


def _catch_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; further signals have no effect."""
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    return asked


def _made_up_identity() -> str:
    return f"{socket.gethostname()}-{secrets.token_hex(4)}"
