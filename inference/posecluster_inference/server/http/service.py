"""The parts of the server process that request handlers use."""

from dataclasses import dataclass, field
from typing import Any

from posecluster_inference.machine.memory import MemoryWatch
from posecluster_inference.metrics import Metrics
from posecluster_inference.server.detection.admission import Admission
from posecluster_inference.server.detection.detector import Detector
from posecluster_inference.server.detection.quota import Quota
from posecluster_inference.server.http.body import BodyReader
from posecluster_inference.server.http.connection import ConnectionLimits
from posecluster_inference.server.http.cors import CrossOrigin
from posecluster_inference.server.http.observation import Observer
from posecluster_inference.server.http.pages import Pages
from posecluster_inference.server.http.tokens import Tokens
from posecluster_inference.server.workers.health import Health
from posecluster_inference.server.workers.pool import Pool
from posecluster_inference.server.workers.supervisor import Supervisor
from posecluster_inference.settings import IPNetwork, Settings


@dataclass(slots=True, kw_only=True)
class Service:
    """The parts of the server; created by `wiring.build`, described in docs/ARCHITECTURE.md.

    `model` has the members of `GET /v1/model` that are known before a worker has loaded the model.
    """

    settings: Settings
    metrics: Metrics
    memory: MemoryWatch
    workers: Supervisor
    pool: Pool
    admission: Admission
    detector: Detector
    bodies: BodyReader
    quota: Quota | None
    tokens: Tokens | None
    proxies: tuple[IPNetwork, ...]
    connections: ConnectionLimits
    health: Health
    model: dict[str, Any]
    cors: CrossOrigin
    observer: Observer
    pages: Pages = field(default_factory=Pages)

    def owner_of(self, caller: str) -> str:
        """Return the caller if its answers are only for itself, or an empty text if all share them."""
        shared = self.tokens is None or self.settings.cache_shared == "true"
        return "" if shared else caller
