"""Start, operate, stop in order: what `posecluster-operator run` does."""

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
from posecluster_operator.access import own_namespace
from posecluster_operator.descriptors import pod_connections
from posecluster_operator.errors import KubeError
from posecluster_operator.explainer import Explainer
from posecluster_operator.fleet import Fleet
from posecluster_operator.health import Health
from posecluster_operator.kube import Kube, connect
from posecluster_operator.lease import UNACKNOWLEDGED_SHARE, Lease
from posecluster_operator.metrics import CONTENT_TYPE, Metrics
from posecluster_operator.port import Port
from posecluster_operator.preflight import check_permissions, report_old_crd, wait_for_crd
from posecluster_operator.reconciler import Reconciler
from posecluster_operator.recorder import Recorder
from posecluster_operator.scaler import Scaler
from posecluster_operator.scraper import Scraper
from posecluster_operator.settings import Settings
from posecluster_operator.watcher import Watcher, watches
from posecluster_operator.workqueue import Result, WorkQueue

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 5.0
_EVERY = "*"  # a key for all PoseClusters that there are: no name is written so
# from a signal to the end, one second in all
_RELEASE_SECONDS = 0.5
_WATCHER_SECONDS = 0.2
_STOP_SECONDS = 0.8


async def run(settings: Settings) -> int:
    """Operate until SIGTERM or SIGINT; the exit code. Raises OperatorError, and OSError for the port."""
    asked_to_stop = _catch_signals()
    connections = pod_connections(watches=len(watches(settings.watched_namespaces)))
    metrics = Metrics(version=__version__)
    health = Health(stall_seconds=settings.stall_seconds)
    explainer = Explainer()
    port = Port(
        metrics=metrics.text,
        content_type=CONTENT_TYPE,
        live=health.live,
        ready=health.ready,
        explain=explainer.explain,
    )
    # first of all: the wait for an API server may be long, and a probe without an answer would end it
    taken = await port.start(settings.host, settings.port)
    fields = {"host": ", ".join(host for host, _ in taken), "port": taken[0][1]}
    logger.info("Listening", extra={"fields": fields})
    scraper = Scraper(monotonic=time.monotonic, connections=connections)
    work = asyncio.create_task(_operate(settings, metrics, health, explainer, scraper), name="operate")
    stop = asyncio.create_task(asked_to_stop.wait(), name="stop")
    await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        logger.info("Stopping")
        work.cancel()
        await asyncio.wait([work], timeout=_STOP_SECONDS)
    stop.cancel()
    await port.stop()
    if asked_to_stop.is_set():
        logger.info("Stopped")
        return 0
    error = work.exception()
    if isinstance(error, ExceptionGroup):
        logger.error("A background task ended", exc_info=error)
        return 1
    assert error is not None, "it goes on until it is cancelled"
    raise error


async def _operate(
    settings: Settings, metrics: Metrics, health: Health, explainer: Explainer, scraper: Scraper
) -> None:
    """Do the operator's work for ever; cancelled, leave the Lease to others."""
    identity = settings.identity or os.environ.get("POD_ID") or _made_up_identity()
    lease_namespace = settings.lease_namespace or await asyncio.to_thread(own_namespace) or "default"
    kube = await connect(
        request_seconds=settings.request_timeout_seconds,
        connect_seconds=min(_CONNECT_SECONDS, settings.request_timeout_seconds),
        on_call=metrics.count_call,
        unacknowledged_seconds=settings.lease_seconds * UNACKNOWLEDGED_SHARE,
    )
    try:
        health.pause("checking the permissions")
        await check_permissions(
            kube,
            namespaces=settings.watched_namespaces,
            lease_namespace=lease_namespace,
            lease_name=settings.lease_name,
        )
        health.pause("waiting for the CRD")
        await wait_for_crd(kube)
        await report_old_crd(kube)
        await _reconcile(
            settings,
            metrics,
            health,
            explainer,
            scraper,
            kube,
            identity=identity,
            lease_namespace=lease_namespace,
        )
    finally:
        await kube.close()


async def _reconcile(
    settings: Settings,
    metrics: Metrics,
    health: Health,
    explainer: Explainer,
    scraper: Scraper,
    kube: Kube,
    *,
    identity: str,
    lease_namespace: str,
) -> None:
    loop = asyncio.get_running_loop()
    random = SystemRandom()

    async def look_at(key: str) -> Result:
        if key != _EVERY:
            return await reconciler.reconcile(key)
        for found in await reconciler.every_key(settings.watched_namespaces):
            queue.add(found)
        return Result()

    def held_changed(held: bool) -> None:
        metrics.show_leader(held)
        if held:
            queue.add(_EVERY)
        else:
            metrics.forget_all()
            scaler.forget_all()

    def look_at_known() -> None:
        for key in reconciler.known_keys():
            queue.add(key)

    def wake(key: str, seconds: float) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(queue.add_after, key, seconds)
            loop.call_soon_threadsafe(fleet.touch)

    def listed() -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(look_at_known)

    lease = Lease(
        kube,
        namespace=lease_namespace,
        name=settings.lease_name,
        identity=identity,
        seconds=settings.lease_seconds,
        on_change=held_changed,
    )
    kube.write_seconds = lease.write_seconds
    recorder = Recorder(kube, instance=identity)
    fleet = Fleet(
        kube,
        namespaces=settings.watched_namespaces,
        monotonic=time.monotonic,
        wanted=lambda: lease.held and scaler.active,
    )
    scaler = Scaler(
        fleet, scraper, metrics=metrics, monotonic=time.monotonic, wake=lambda key: queue.add(key)
    )
    explainer.follow(scaler, held=lambda: lease.held)
    reconciler = Reconciler(
        kube,
        lease=lease,
        recorder=recorder,
        scaler=scaler,
        metrics=metrics,
        images=settings.images,
        version=__version__,
        resync_seconds=settings.resync_seconds,
        now=lambda: datetime.now(UTC),
        random=random,
    )
    queue = WorkQueue(look_at, workers=settings.workers, on_done=metrics.count_pass, random=random)
    metrics.show_queue_depth(lambda: queue.depth)
    health.look_at_queue(oldest_key=queue.oldest_seconds, longest_pass=queue.longest_pass_seconds)
    watcher = Watcher(
        kube.access,
        namespaces=settings.watched_namespaces,
        inactivity_seconds=settings.watch_inactivity_seconds,
        instance=identity,
        random=random,
        wake=wake,
        listed=listed,
        on_call=metrics.count_call,
        health=health,
        wait_for_crd=lambda: wait_for_crd(kube),
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(lease.run(), name="lease")
            tasks.create_task(queue.run(), name="queue")
            tasks.create_task(recorder.run(), name="recorder")
            tasks.create_task(fleet.run(), name="fleet")
            tasks.create_task(scaler.run(), name="scaler")
            tasks.create_task(watcher.run(), name="watcher")
            tasks.create_task(health.run(), name="health")
    finally:
        if not kube.cut_short:  # else the API server may still do it: another must wait as after a kill
            with suppress(TimeoutError, KubeError):
                async with asyncio.timeout(_RELEASE_SECONDS):
                    await lease.release()
        await scraper.close()
        await watcher.ended(_WATCHER_SECONDS)


def _catch_signals() -> asyncio.Event:
    """Return what SIGTERM and SIGINT set; a second one changes nothing."""
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    return asked


def _made_up_identity() -> str:
    return f"{socket.gethostname()}-{secrets.token_hex(4)}"
