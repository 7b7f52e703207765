"""The settings of the server: defaults, bounds and meanings.

Each field of `Settings` is read from the environment variable `POSECLUSTER_<FIELD>` and the flag `--<field>`;
the flag takes precedence. A test compares docs/operations.md with this table.
"""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from posecluster_common import origins
from posecluster_common.settings import Table, choice, items, number, text
from posecluster_inference.errors import InvalidSetting
from posecluster_inference.worker.tasks import CATALOGUE

PREFIX = "POSECLUSTER_"
_VARIANTS = list(dict.fromkeys(model.variant for task in CATALOGUE.values() for model in task.MODELS))
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
_IPV4_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_MILLISECONDS_A_DAY = 86_400_000
# A body, or a drawn picture as PNG (3 bytes per pixel), must fit into one frame on a worker's pipe.
_LARGEST_BODY_BYTES = 128 << 20
_LARGEST_PICTURE = 80_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The server's settings, checked by `load`. The suffix `_ms` stands for milliseconds."""

    host: str = text("", "comma-separated addresses to listen on; empty: all addresses, IPv4 and IPv6")
    port: int = number(8080, 0, 65535, "port for clients; 0: any free port")
    admin_port: int = number(9090, 0, 65535, "port for probes and metrics; 0: any free port")
    workers: int = number(
        0,
        0,
        64,
        "number of worker processes; 0: derived from the CPU quota and the CPUs that the process may use",
    )
    queue_length: int = number(
        0, 0, 100_000, "number of requests that may wait for a worker; 0: 8 per worker"
    )
    model_task: str = choice("pose", list(CATALOGUE), "task that the server performs")
    model_variant: str = choice("full", _VARIANTS, "variant of the model")
    model_dir: str = text("models", "folder that contains the model files")
    engine: str = text("mediapipe", "inference engine: mediapipe, or a class as package.module:Class")
    engine_environment: str = text(
        "", "comma-separated names of further environment variables that the workers of a custom engine get"
    )
    max_people: int = number(1, 1, 10, "maximum number of people detected in a picture")
    max_body_bytes: int = number(10_485_760, 1_024, _LARGEST_BODY_BYTES, "maximum size of a request body")
    max_pixels: int = number(
        25_000_000, 1, _LARGEST_PICTURE, "maximum width x height that a picture's header may declare"
    )
    max_side_pixels: int = number(
        16_384, 1, 1 << 20, "maximum width or height that a picture's header may declare"
    )
    deadline_ms: int = number(
        10_000,
        1,
        _MILLISECONDS_A_DAY,
        "time from the last byte of the body within which a request is answered; otherwise it gets 504",
    )
    hang_limit_ms: int = number(
        5_000,
        1,
        _MILLISECONDS_A_DAY,
        "maximum time that a worker may spend on one request before it is killed",
    )
    latency_objective_ms: int = number(
        250, 1, _MILLISECONDS_A_DAY, "a response that takes longer counts as late"
    )
    drain_delay_ms: int = number(
        15_000, 0, _MILLISECONDS_A_DAY, "time after SIGTERM during which the server still accepts requests"
    )
    rate_limit_per_minute: int = number(
        0, 0, 1_000_000, "maximum number of detections per caller and minute; 0: no limit"
    )
    rate_limit_burst: int = number(
        10,
        1,
        1_000_000,
        "maximum number of detections that a caller may request in one burst under the rate limit",
    )
    trusted_proxies: str = text(
        "", "comma-separated networks of proxies whose X-Forwarded-For header is trusted"
    )
    allowed_origins: str = text(
        "", "comma-separated origins whose pages may call the API (CORS), or * for every origin; empty: none"
    )
    cache_entries: int = number(
        1_024,
        0,
        1_000_000,
        "maximum number of responses in the cache; 0: no cache, and no shared computations",
    )
    cache_shared: str = choice(
        "false",
        ["false", "true"],
        "whether callers with different tokens share responses; a caller can then notice that another one "
        "sent the same picture",
    )
    recycle_requests: int = number(
        5_000, 0, 1_000_000_000, "number of requests after which a worker is replaced, +-10 %; 0: never"
    )
    recycle_growth_percent: int = number(
        150,
        0,
        10_000,
        "replace a worker when its memory exceeds this percentage of its memory after warm-up; 0: never",
    )
    worker_memory_bytes: int = number(
        0,
        0,
        1 << 44,
        "memory that a worker may use beyond its memory after warm-up; 0: from the memory limit, else 2 GiB",
    )
    max_connections: int = number(
        512,
        1,
        1_000_000,
        "maximum number of client connections; reduced, with a warning, to fit the limit on open files",
    )
    header_timeout_ms: int = number(
        5_000, 1, _MILLISECONDS_A_DAY, "maximum time to receive the request line and headers"
    )
    body_timeout_ms: int = number(
        60_000, 1, _MILLISECONDS_A_DAY, "maximum time to receive the whole request body"
    )
    body_bytes_per_second: int = number(
        50_000, 0, 1 << 30, "minimum rate of a request body after its first 10 s; 0: no minimum"
    )
    idle_timeout_ms: int = number(
        75_000, 1, _MILLISECONDS_A_DAY, "time after which a connection without a request is closed"
    )
    write_timeout_ms: int = number(
        10_000, 1, _MILLISECONDS_A_DAY, "maximum time to wait for a client that does not read its response"
    )
    connection_age_ms: int = number(
        300_000,
        0,
        _MILLISECONDS_A_DAY,
        "age after which a connection is closed with its next response, +-20 %; 0: never",
    )
    busy_connection_age_ms: int = number(
        3_000,
        0,
        _MILLISECONDS_A_DAY,
        "age after which a connection is closed with its next response while the workers are busy, +-20 %; "
        "a third of it after 503 or 504; 0: never",
    )
    auth_tokens_dir: str = text(
        "", "folder of files that each contain a bearer token; empty: no token is required"
    )
    cgroup_root: str = text(
        "/sys/fs/cgroup", "cgroup folder (v1 or v2) from which the CPU quota and the memory limit are read"
    )
    sandbox: str = choice(
        "on",
        ["on", "off"],
        "whether workers are confined, as far as the kernel allows; off only for debugging",
    )
    log_format: str = choice("text", ["text", "json"], "format of the log lines")
    request_log: str = choice(
        "none", ["none", "sampled", "all"], "which requests are logged after their response"
    )

    @property
    def proxy_networks(self) -> tuple[IPNetwork, ...]:
        """The networks in `trusted_proxies`."""
        return tuple(_unmapped(ipaddress.ip_network(name)) for name in items(self.trusted_proxies))

    @property
    def engine_variables(self) -> tuple[str, ...]:
        """The names in `engine_environment`."""
        return items(self.engine_environment)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins in `allowed_origins`, as browsers send them in `Origin`, or only `*`."""
        return items(self.allowed_origins)


def _unmapped(network: IPNetwork) -> IPNetwork:
    """Return a network of IPv4-mapped addresses as an IPv4 network, because peers have IPv4 addresses."""
    if isinstance(network, ipaddress.IPv4Network) or not network.subnet_of(_IPV4_MAPPED):
        return network
    address = int(network.network_address) - int(_IPV4_MAPPED.network_address)
    return ipaddress.IPv4Network((address, network.prefixlen - _IPV4_MAPPED.prefixlen))


def _check_origins(settings: Settings) -> None:
    """Raise InvalidSetting for an origin that no browser sends, because it would have no effect."""
    for origin in settings.origins:
        if not re.fullmatch(origins.PATTERN, origin) or origins.has_default_port(origin):
            raise InvalidSetting(
                f"{PREFIX}ALLOWED_ORIGINS: {origin[:80]!r} is not an origin as browsers send it: give * or "
                "scheme://host[:port], such as https://app.example.com, in lower case, without a path and "
                "without the scheme's default port"
            )
    if "*" in settings.origins and len(settings.origins) > 1:
        raise InvalidSetting(
            f"{PREFIX}ALLOWED_ORIGINS: * already means every origin: give * or a list, not both"
        )
    if "*" in settings.origins and settings.auth_tokens_dir:
        raise InvalidSetting(
            f"{PREFIX}ALLOWED_ORIGINS: * cannot be combined with tokens ({PREFIX}AUTH_TOKENS_DIR): "
            "list the origins that may call"
        )


def _check(settings: Settings) -> None:
    try:
        _ = settings.proxy_networks
    except ValueError as error:
        raise InvalidSetting(f"{PREFIX}TRUSTED_PROXIES: {error}; give networks such as 10.0.0.0/8") from error
    _check_origins(settings)
    if settings.port and settings.port == settings.admin_port:
        raise InvalidSetting(f"{PREFIX}ADMIN_PORT={settings.admin_port}: must differ from {PREFIX}PORT")
    if settings.auth_tokens_dir and not Path(settings.auth_tokens_dir).is_dir():
        raise InvalidSetting(f"{PREFIX}AUTH_TOKENS_DIR={settings.auth_tokens_dir!r}: is not a folder")
    if 0 < settings.recycle_growth_percent <= 100:
        raise InvalidSetting(
            f"{PREFIX}RECYCLE_GROWTH_PERCENT={settings.recycle_growth_percent}: must be 0 or more than 100, "
            "or every worker would be replaced all the time"
        )


_TABLE = Table(
    cls=Settings,
    prefix=PREFIX,
    error=InvalidSetting,
    check=_check,
    others={"MODEL_SOURCE"},  # read by `posecluster-inference models`
)
add_flags, load, unknown_variables = _TABLE.add_flags, _TABLE.load, _TABLE.unknown_variables
