"""Every setting of the operator, its default, its bounds and its meaning: one table.

Each field of `Settings` is read from the environment as `POSECLUSTER_OPERATOR_<FIELD>` and from the
command line of `posecluster-operator run` as `--<field>`; the command line wins.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from posecluster_common.settings import Table, choice, items, number, text
from posecluster_operator.errors import InvalidSetting
from posecluster_operator.fields import IMAGE_PATTERN, KEY_PATTERN, LONGEST_KEY, NAME_PATTERN
from posecluster_operator.models import PodDefaults, PullPolicy, is_reserved

PREFIX = "POSECLUSTER_OPERATOR_"
_NAMESPACE_PATTERN = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_LONGEST_NAME = 253
_LONGEST_IMAGE = 512
_HIGHEST_ID = (1 << 31) - 1  # the API server accepts no larger user or group id
_SECONDS_A_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The operator's settings, checked. Made by `load`."""

    host: str = text("", "comma list of addresses to listen on; empty: all, of every family")
    port: int = number(9091, 0, 65_535, "port for /metrics, /livez and /readyz; 0 takes a free one")
    namespaces: str = text("", "comma list of the namespaces to watch; empty: all")
    inference_image: str = text("", "image of pods whose spec names none")
    inference_image_pull_policy: str = choice(
        "", ["", *PullPolicy], "pull policy of pods whose spec names none; empty: the cluster's"
    )
    inference_image_pull_secrets: str = text(
        "", "comma list of pull Secrets' names, for pods whose spec names none"
    )
    inference_run_as_user: int | None = number(
        None,
        1,
        _HIGHEST_ID,
        "runAsUser of inference pods; empty: the image's user, or one that the cluster assigns",
    )
    inference_run_as_group: int | None = number(
        None,
        0,
        _HIGHEST_ID,
        "runAsGroup of inference pods; empty: the image's group, or one that the cluster assigns",
    )
    inference_fs_group: int | None = number(
        None, 0, _HIGHEST_ID, "fsGroup of inference pods; empty: none, or one that the cluster assigns"
    )
    inference_otlp_endpoint: str = text(
        "", "address of an OpenTelemetry collector (OTLP over HTTP) for the spans of all pods; empty: none"
    )
    allowed_pod_labels: str = text(
        "", "comma list of keys that podLabels may have; example.com/* is a whole prefix; empty: none"
    )
    allowed_pod_annotations: str = text(
        "", "comma list of keys that podAnnotations may have; example.com/* is a whole prefix; empty: none"
    )
    lease_namespace: str = text("", "namespace of the Lease; empty: the pod's own, else default")
    lease_name: str = text(
        "posecluster-operator", "name of the Lease; operators that watch the same must share it"
    )
    lease_seconds: int = number(
        15, 3, 3_600, "a Lease that is not renewed for so long is taken over; renewed at 2/15 of it"
    )
    identity: str = text("", "this process's name in the Lease; empty: POD_ID, else made up")
    workers: int = number(16, 1, 256, "PoseClusters looked at at once")
    resync_seconds: int = number(
        90,
        1,
        _SECONDS_A_DAY,
        "each PoseCluster is looked at so often, +-10 %; beyond 100 of them every 0.9 s times their number",
    )
    request_timeout_seconds: int = number(10, 1, 300, "one call to the API server")
    watch_inactivity_seconds: int = number(
        70, 1, 3_600, "a watch that is silent for so long is opened anew; bookmarks come every 60 s"
    )
    stall_seconds: int = number(
        150, 2, 7_200, "/livez fails when a watch brings nothing, though opened anew, for so long"
    )
    log_format: str = choice("text", ["text", "json"], "form of the log lines")

    @property
    def watched_namespaces(self) -> tuple[str, ...]:
        """`namespaces` parsed, each once; empty: all."""
        return items(self.namespaces)

    @property
    def images(self) -> PodDefaults:
        """What pods get whose spec does not say."""
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
                raise InvalidSetting(f"{PREFIX}{variable}: {name[:80]!r} is no valid name")


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
    except ValueError:  # a port that is no number, or a broken IPv6 address
        is_right = False
    if address and not is_right:
        raise InvalidSetting(
            f"{PREFIX}INFERENCE_OTLP_ENDPOINT={address[:80]!r}: must be an address such as "
            "http://collector.observability:4318"
        )


def _check_together(settings: Settings) -> None:
    if len(settings.identity) > _LONGEST_NAME or not settings.identity.isprintable():
        raise InvalidSetting(f"{PREFIX}IDENTITY: must be printable, {_LONGEST_NAME} characters at most")
    if settings.stall_seconds <= settings.watch_inactivity_seconds:
        raise InvalidSetting(
            f"{PREFIX}STALL_SECONDS={settings.stall_seconds}: must be more than "
            f"{PREFIX}WATCH_INACTIVITY_SECONDS={settings.watch_inactivity_seconds}, or a silent watch "
            "would end the process before it is opened anew"
        )


def _check(settings: Settings) -> None:
    _check_names(settings)
    _check_keys(settings)
    _check_endpoint(settings)
    _check_together(settings)


_TABLE = Table(cls=Settings, prefix=PREFIX, error=InvalidSetting, check=_check)
add_flags, load, unknown_variables = _TABLE.add_flags, _TABLE.load, _TABLE.unknown_variables
