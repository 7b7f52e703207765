"""Every setting of the operator with its default, its bounds and its meaning, in one table.

Each field of `Settings` is read from the environment as `POSECLUSTER_OPERATOR_<FIELD>` and from the
command line of `posecluster-operator run` as `--<field>`; the command line wins.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from posecluster_common.settings import Table, choice, items, number, text
from posecluster_operator.errors import InvalidSetting
from posecluster_operator.resource.fields import IMAGE_PATTERN, KEY_PATTERN, LONGEST_KEY, NAME_PATTERN
from posecluster_operator.resource.posecluster import PodDefaults, PullPolicy, is_reserved

PREFIX = "POSECLUSTER_OPERATOR_"
_NAMESPACE_PATTERN = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_LONGEST_NAME = 253
_LONGEST_IMAGE = 512
_HIGHEST_ID = (1 << 31) - 1  # the API server accepts no larger user or group id
_SECONDS_A_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The operator's checked settings, as `load` returns them."""

    host: str = text("", "comma-separated addresses to listen on; empty: all addresses, IPv4 and IPv6")
    port: int = number(9091, 0, 65_535, "port for /metrics, /livez, /readyz and /explain; 0: any free port")
    namespaces: str = text("", "comma-separated namespaces to watch; empty: all")
    watch_nodes: str = choice(
        "false",
        ["true", "false"],
        "whether to list cordoned nodes, and to replace their pods on other nodes before these are evicted; "
        "needs the permission to list nodes, and no namespaces may be set",
    )
    inference_image: str = text("", "image of inference pods if spec.image is unset")
    inference_image_pull_policy: str = choice(
        "",
        ["", *PullPolicy],
        "pull policy of inference pods if spec.imagePullPolicy is unset; empty: the Kubernetes default",
    )
    inference_image_pull_secrets: str = text(
        "", "comma-separated names of pull Secrets for inference pods if spec.imagePullSecrets is unset"
    )
    inference_run_as_user: int | None = number(
        None,
        1,
        _HIGHEST_ID,
        "runAsUser of inference pods; empty: the user of the image, or one that the cluster assigns",
    )
    inference_run_as_group: int | None = number(
        None,
        0,
        _HIGHEST_ID,
        "runAsGroup of inference pods; empty: the group of the image, or one that the cluster assigns",
    )
    inference_fs_group: int | None = number(
        None, 0, _HIGHEST_ID, "fsGroup of inference pods; empty: unset, or one that the cluster assigns"
    )
    inference_otlp_endpoint: str = text(
        "",
        "OpenTelemetry collector (OTLP over HTTP) for the spans of all inference pods, as a URL; empty: none",
    )
    allowed_pod_labels: str = text(
        "",
        "comma-separated keys that podLabels may contain; example.com/* allows a prefix; empty: none",
    )
    allowed_pod_annotations: str = text(
        "",
        "comma-separated keys that podAnnotations may contain; example.com/* allows a prefix; empty: none",
    )
    lease_namespace: str = text(
        "", "namespace of the Lease; empty: the namespace of the operator's pod, or default outside a cluster"
    )
    lease_name: str = text(
        "posecluster-operator",
        "name of the Lease; operators that watch the same namespaces must use the same Lease",
    )
    lease_seconds: int = number(
        15,
        3,
        3_600,
        "time without renewal after which another operator takes the Lease over; renewed after 2/15 of it",
    )
    identity: str = text(
        "", "name of this process in the Lease; empty: the value of POD_ID, or else a generated name"
    )
    workers: int = number(16, 1, 256, "number of PoseClusters reconciled concurrently")
    concurrent_rollouts: int = number(
        2,
        1,
        1_000,
        "maximum number of rollouts under way when the operator starts one because of its own settings or "
        "version; changes of a PoseCluster are not delayed",
    )
    resync_seconds: int = number(
        90,
        1,
        _SECONDS_A_DAY,
        "time after which a PoseCluster is reconciled again, +-10 %; at least 0.9 s times their number",
    )
    request_timeout_seconds: int = number(10, 1, 300, "timeout of a request to the API server")
    watch_inactivity_seconds: int = number(
        70,
        1,
        3_600,
        "time without an event after which a watch is reopened; the API server sends a bookmark every 60 s",
    )
    stall_seconds: int = number(
        150, 2, 7_200, "time without an event after which /livez fails, although the watch was reopened"
    )
    log_format: str = choice("text", ["text", "json"], "format of the log lines")

    @property
    def watched_namespaces(self) -> tuple[str, ...]:
        """`namespaces` parsed, each once; empty: all."""
        return items(self.namespaces)

    @property
    def watches_nodes(self) -> bool:
        """Whether to list cordoned nodes."""
        return self.watch_nodes == "true"

    @property
    def images(self) -> PodDefaults:
        """The values that pods get for fields that are unset in the spec."""
        policy = self.inference_image_pull_policy
        ids = {
            "runAsUser": self.inference_run_as_user,
            "runAsGroup": self.inference_run_as_group,
            "fsGroup": self.inference_fs_group,
        }
        return PodDefaults(
            image=self.inference_image or None,
            pull_policy=PullPolicy(policy) if policy else None,
            pull_secrets=items(self.inference_image_pull_secrets),
            otlp_endpoint=self.inference_otlp_endpoint or None,
            allowed_labels=items(self.allowed_pod_labels),
            allowed_annotations=items(self.allowed_pod_annotations),
            ids={name: number for name, number in ids.items() if number is not None},
        )


def _check_names(settings: Settings) -> None:
    for variable, names, pattern, longest in (
        ("NAMESPACES", settings.watched_namespaces, _NAMESPACE_PATTERN, _LONGEST_NAME),
        ("LEASE_NAMESPACE", items(settings.lease_namespace), _NAMESPACE_PATTERN, _LONGEST_NAME),
        ("LEASE_NAME", (settings.lease_name,), NAME_PATTERN, _LONGEST_NAME),
        ("INFERENCE_IMAGE", (settings.inference_image or "x",), IMAGE_PATTERN, _LONGEST_IMAGE),
        ("INFERENCE_IMAGE_PULL_SECRETS", settings.images.pull_secrets, NAME_PATTERN, _LONGEST_NAME),
    ):
        for name in names:
            if len(name) > longest or not re.fullmatch(pattern, name):
                raise InvalidSetting(f"{PREFIX}{variable}: {name[:80]!r} is not a valid name")


def _check_keys(settings: Settings) -> None:
    for variable, keys in (
        ("ALLOWED_POD_LABELS", settings.images.allowed_labels),
        ("ALLOWED_POD_ANNOTATIONS", settings.images.allowed_annotations),
    ):
        for key in keys:
            if len(key) > LONGEST_KEY or not re.fullmatch(KEY_PATTERN, re.sub(r"/[*]$", "/x", key)):
                raise InvalidSetting(
                    f"{PREFIX}{variable}: {key[:80]!r} is not a key such as example.com/team or example.com/*"
                )
            if is_reserved(key):
                raise InvalidSetting(
                    f"{PREFIX}{variable}: {key[:80]!r} cannot be allowed, because the operator or Kubernetes "
                    "sets it: remove it"
                )


def _check_endpoint(settings: Settings) -> None:
    address = settings.inference_otlp_endpoint
    try:
        parts = urlsplit(address)
        is_right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number, or the IPv6 address is malformed
        is_right = False
    if address and not is_right:
        raise InvalidSetting(
            f"{PREFIX}INFERENCE_OTLP_ENDPOINT={address[:80]!r}: must be an address such as "
            "http://collector.observability:4318"
        )


def _check_together(settings: Settings) -> None:
    if settings.watches_nodes and settings.watched_namespaces:
        raise InvalidSetting(
            f"{PREFIX}WATCH_NODES=true: nodes belong to the whole cluster, so the operator must watch all "
            f"namespaces: unset {PREFIX}NAMESPACES, or set {PREFIX}WATCH_NODES=false"
        )
    if len(settings.identity) > _LONGEST_NAME or not settings.identity.isprintable():
        raise InvalidSetting(f"{PREFIX}IDENTITY: must be printable, {_LONGEST_NAME} characters at most")
    if settings.stall_seconds <= settings.watch_inactivity_seconds:
        raise InvalidSetting(
            f"{PREFIX}STALL_SECONDS={settings.stall_seconds}: must be more than "
            f"{PREFIX}WATCH_INACTIVITY_SECONDS={settings.watch_inactivity_seconds}, or a silent watch "
            "would end the process before it is reopened"
        )


def _check(settings: Settings) -> None:
    _check_names(settings)
    _check_keys(settings)
    _check_endpoint(settings)
    _check_together(settings)


_TABLE = Table(cls=Settings, prefix=PREFIX, error=InvalidSetting, check=_check)
add_flags, load, unknown_variables = _TABLE.add_flags, _TABLE.load, _TABLE.unknown_variables
