"""Builds the parts of the server process from the settings and connects them."""

from pathlib import Path
from typing import Any

from posecluster_inference import __version__
from posecluster_inference.errors import Reason
from posecluster_inference.machine.cgroup import Cgroup
from posecluster_inference.machine.memory import MemoryWatch, worker_share_bytes
from posecluster_inference.metrics import Metrics
from posecluster_inference.models import store
from posecluster_inference.server import descriptors
from posecluster_inference.server.detection.admission import Admission
from posecluster_inference.server.detection.cache import AnswerCache, Flights
from posecluster_inference.server.detection.detector import Detector
from posecluster_inference.server.detection.quota import Quota
from posecluster_inference.server.http.answer_budget import AnswerBudget
from posecluster_inference.server.http.body import BodyReader
from posecluster_inference.server.http.connection import ConnectionLimits
from posecluster_inference.server.http.cors import CrossOrigin
from posecluster_inference.server.http.observation import Observer
from posecluster_inference.server.http.pace import Pace
from posecluster_inference.server.http.service import Service
from posecluster_inference.server.http.tokens import Tokens
from posecluster_inference.server.http.tracing import span_exporter
from posecluster_inference.server.workers.health import Health
from posecluster_inference.server.workers.jobs import JobQueue
from posecluster_inference.server.workers.pool import Pool
from posecluster_inference.server.workers.supervisor import Supervisor, SupervisorConfig
from posecluster_inference.settings import Settings
from posecluster_inference.worker.messages import WorkerConfig
from posecluster_inference.worker.tasks import CATALOGUE

_QUEUE_PLACES_PER_WORKER = 8
# All request bodies together may use a quarter of the memory limit.
_BODIES_SHARE = 4
_BODIES_WITHOUT_LIMIT_BYTES = 1 << 30
# All answers that clients have not read yet may use an eighth of it. A drawn answer has at most 8 MB.
_ANSWERS_SHARE = 8
_ANSWERS_WITHOUT_LIMIT_BYTES = 1 << 29


def build(settings: Settings) -> Service:
    """Build all parts; raises PoseClusterError for a wrong model file or too few descriptors."""
    cgroup = Cgroup(Path(settings.cgroup_root))
    use = cgroup.memory()
    memory_limit = use.limit_bytes if use else None
    size = settings.workers or cgroup.workers()
    settings = descriptors.fit_connections(settings, workers=size)
    model = _model(settings)
    metrics = Metrics()
    memory = MemoryWatch(cgroup, use)
    share = settings.worker_memory_bytes or worker_share_bytes(memory_limit, size)
    workers = Supervisor(
        SupervisorConfig(
            size=size,
            worker=WorkerConfig(
                engine=settings.engine,
                task=settings.model_task,
                variant=settings.model_variant,
                model_path=model.pop("path"),
                max_people=settings.max_people,
                max_pixels=settings.max_pixels,
                max_side_pixels=settings.max_side_pixels,
                memory_share_bytes=share,
                sandbox=settings.sandbox == "on",
            ),
            hang_seconds=settings.hang_limit_ms / 1000,
            recycle_requests=settings.recycle_requests,
            recycle_growth_percent=settings.recycle_growth_percent,
            memory_share_bytes=share,
            engine_variables=settings.engine_variables,
        ),
        metrics,
    )
    queue = JobQueue(settings.queue_length or _QUEUE_PLACES_PER_WORKER * size)
    cache = AnswerCache(settings.cache_entries)
    pool = Pool(workers, queue, metrics, forget=cache.forget_worker)
    admission = Admission(pool, memory, metrics)
    pace = Pace(settings.body_bytes_per_second, settings.body_timeout_ms / 1000)
    connections = ConnectionLimits(
        max_connections=settings.max_connections,
        header_seconds=settings.header_timeout_ms / 1000,
        idle_seconds=settings.idle_timeout_ms / 1000,
        write_seconds=settings.write_timeout_ms / 1000,
        age_seconds=settings.connection_age_ms / 1000,
        busy_age_seconds=settings.busy_connection_age_ms / 1000,
        pace=pace,
        answers=AnswerBudget(
            budget_bytes=memory_limit // _ANSWERS_SHARE if memory_limit else _ANSWERS_WITHOUT_LIMIT_BYTES,
            no_memory=lambda: admission.count_early_refusal(
                Reason.MEMORY, "Too many answers wait to be read: read them faster, and retry later."
            ),
        ),
        no_place=lambda: admission.count_early_refusal(
            Reason.QUEUE_FULL, "All connections of this server are in use: retry later."
        ),
    )
    service = Service(
        settings=settings,
        metrics=metrics,
        memory=memory,
        workers=workers,
        pool=pool,
        admission=admission,
        detector=Detector(
            admission=admission,
            cache=cache,
            flights=Flights(cache),
            metrics=metrics,
            max_pixels=settings.max_pixels,
            max_side_pixels=settings.max_side_pixels,
            objective_seconds=settings.latency_objective_ms / 1000,
        ),
        bodies=BodyReader(
            max_bytes=settings.max_body_bytes,
            pace=pace,
            budget_bytes=memory_limit // _BODIES_SHARE if memory_limit else _BODIES_WITHOUT_LIMIT_BYTES,
            no_memory=lambda: admission.count_early_refusal(
                Reason.MEMORY, "Too many bodies are being received at once: retry later."
            ),
        ),
        quota=Quota(settings.rate_limit_per_minute, settings.rate_limit_burst)
        if settings.rate_limit_per_minute
        else None,
        tokens=Tokens(Path(settings.auth_tokens_dir)) if settings.auth_tokens_dir else None,
        proxies=settings.proxy_networks,
        connections=connections,
        health=Health(workers, queue, memory),
        model=model,
        cors=CrossOrigin(frozenset(settings.origins)),
        observer=Observer(request_log=settings.request_log, exporter=span_exporter()),
    )
    _declare_gauges(service)
    return service


def _model(settings: Settings) -> dict[str, Any]:
    """Find and verify the model file. An engine that the user provides finds its own files."""
    if settings.engine not in CATALOGUE[settings.model_task].ENGINES:
        return {"path": settings.model_dir, "sha256": None, "published_sha256": None, "origin": None}
    verified = store.verified(Path(settings.model_dir), settings.model_task, settings.model_variant)
    return {
        "path": str(verified.path),
        "sha256": verified.sha256,
        "published_sha256": verified.published_sha256,
        "origin": verified.origin,
    }


def _declare_gauges(service: Service) -> None:
    metrics, pool = service.metrics, service.pool
    metrics.gauge("queue_depth", "Detections that wait for a worker", lambda: len(pool.queue))
    metrics.gauge("queue_limit", "Maximum number of detections that may wait", lambda: pool.queue.limit)
    metrics.gauge("running", "Detections that a worker is processing", lambda: pool.running)
    metrics.gauge("connections", "Open client connections", lambda: service.connections.open.value)
    metrics.gauge(
        "connections_limit",
        "Maximum number of client connections",
        lambda: service.connections.max_connections,
    )
    metrics.gauge(
        "answer_bytes",
        "Bytes of answers that clients have not read yet",
        lambda: service.connections.answers.held_bytes,
    )
    metrics.gauge_by("workers", "state", "Workers by state", service.health.workers_by_state)
    metrics.gauge_by(
        "worker_sandbox",
        "layer",
        "Confinement of the workers: the ABI of Landlock, and 1 for seccomp; 0: absent, or none is ready",
        service.health.sandbox_layers,
    )
    metrics.build_info(
        version=__version__,
        engine=service.settings.engine,
        task=service.settings.model_task,
        variant=service.settings.model_variant,
    )
