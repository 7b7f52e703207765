"""The text of a fake pod's /metrics, correct or faulty, in the inference server's form. See metrics_pod."""

import gzip
import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

from prometheus_client.utils import floatToGoString

HUGE_BYTES = 50 << 20
REFUSED = ("queue_full", "deadline", "draining", "starting", "memory")
FAILED = ("worker_crashed", "worker_hung", "undecodable", "picture_too_large", "malformed")
_FILLER = b"# filler\n" * 7_000
_SPOILT = "posecluster_arrivals_total"


class Fault(StrEnum):
    """What a pod does instead of answering well; the value says it to a person."""

    ABSENT = "refuses connections; those it had are cut"
    SILENT = "takes the request and sends nothing"
    SLOW = "sends a good answer, a byte each 50 ms"
    ERROR = "answers 500, with a good body"
    REDIRECT = "302 to a path that answers well; see redirect_hits"
    HUGE = "a good answer and then 50 MiB of comments, chunked"
    HUGE_DECLARED = "the same with a Content-Length"
    BOMB = "the same compressed with gzip, asked for or not: 150 kB on the wire"
    ENDLESS = "interim answers (102) without end"
    CUT = "half the body that Content-Length says, then the end"
    UNBOUNDED = "no length; the body ends with the connection, in the middle of a number"
    NAN = "arrivals are NaN"
    INF = "arrivals are +Inf"
    NEGATIVE = "arrivals are -1"
    ABSURD = "arrivals are 1e308"
    DUPLICATE = "arrivals are there twice"
    FOREIGN_LABELS = "arrivals have a label"
    MISSING = "arrivals are not there"
    GARBAGE = "200, with a body of random bytes"
    STALE = "always the answer from the moment when the fault was set"
    EXTRA = "all families whatever was asked for, and 180 kB of strangers'; still a good answer"


_VALUES = {Fault.NAN: "NaN", Fault.INF: "+Inf", Fault.NEGATIVE: "-1.0", Fault.ABSURD: "1e+308"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Rates a second; `queued` and `running` are gauges. Of the arrivals some are refused or fail."""

    per_second: float = 0.0
    service_seconds: float = 0.05
    queued: float = 0
    running: float = 0
    refused_per_second: float = 0.0
    failed_per_second: float = 0.0
    late_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class Counters:
    """Sums up to `at` (monotonic); the load that holds since then adds to them."""

    at: float
    started: float  # UNIX time
    load: Load
    arrivals: float = 0.0
    refused: float = 0.0
    failed: float = 0.0
    late: float = 0.0
    busy_seconds: float = 0.0

    def until(self, now: float) -> "Counters":
        """The same pod later."""
        seconds, load = now - self.at, self.load
        taken = load.per_second - load.refused_per_second
        return replace(
            self,
            at=now,
            arrivals=self.arrivals + seconds * load.per_second,
            refused=self.refused + seconds * load.refused_per_second,
            failed=self.failed + seconds * load.failed_per_second,
            late=self.late + seconds * load.late_per_second,
            busy_seconds=self.busy_seconds + seconds * taken * load.service_seconds,
        )


def body(counters: Counters, names: Collection[str], fault: Fault | None) -> bytes:
    """The text, of these sample names only (all, if there are none)."""
    if fault is Fault.GARBAGE:
        return random.Random(1).randbytes(4_000)
    lines = list(_lines(_samples(counters), () if fault is Fault.EXTRA else names))
    if fault is Fault.EXTRA:
        lines += [
            f'istio_requests_total{{path="/{"x" * 60} {index}",odd="\\"}}"}} NaN' for index in range(1_800)
        ]
    return "".join(line + "\n" for one in lines for line in _spoil(one, fault)).encode()


def huge(text: bytes) -> Iterator[bytes]:
    """The text and then comments, 50 MiB in all."""
    yield text
    left = HUGE_BYTES - len(text)
    while left > 0:
        yield _FILLER[: min(left, len(_FILLER))]
        left -= len(_FILLER)


def bomb(text: bytes) -> bytes:
    """`huge`, compressed: two gzip members, which a decoder reads as one."""
    return gzip.compress(text) + packed_filler()


@cache
def packed_filler() -> bytes:
    """50 MiB of comments, compressed; takes half a second the first time."""
    return gzip.compress(b"".join(huge(b"")), compresslevel=6)


def _samples(now: Counters) -> Mapping[str, Mapping[str, float]]:
    """Name of a sample -> value by reason, `""` for one without labels. Events are whole, as they happen."""
    load = now.load
    completed = max(0, int(now.arrivals) - int(now.refused) - int(now.failed))
    return {
        "posecluster_arrivals_total": {"": int(now.arrivals)},
        "posecluster_refused_total": dict.fromkeys(REFUSED, 0.0) | {"queue_full": int(now.refused)},
        "posecluster_completed_total": {"": completed},
        "posecluster_failed_total": dict.fromkeys(FAILED, 0.0) | {"undecodable": int(now.failed)},
        "posecluster_busy_seconds_total": {"": now.busy_seconds},
        "posecluster_late_total": {"": int(now.late)},
        "posecluster_queue_depth": {"": load.queued},
        "posecluster_queue_limit": {"": 64},
        "posecluster_running": {"": load.running},
        "posecluster_connections": {"": 1},
        "process_start_time_seconds": {"": now.started},
    }


def _lines(samples: Mapping[str, Mapping[str, float]], names: Collection[str]) -> Iterator[str]:
    for name, values in samples.items():
        if names and name not in names:
            continue
        yield f"# HELP {name} What it counts"
        yield f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"
        for reason, value in values.items():
            labels = f'{{reason="{reason}"}}' if reason else ""
            yield f"{name}{labels} {floatToGoString(value)}"  # type: ignore[no-untyped-call]


def _spoil(line: str, fault: Fault | None) -> list[str]:
    name, _, value = line.partition(" ")
    if name != _SPOILT or fault is None:
        return [line]
    if fault is Fault.DUPLICATE:
        return [line, line]
    if fault is Fault.MISSING:
        return []
    if fault is Fault.FOREIGN_LABELS:
        return [f'{name}{{pod="another"}} {value}']
    return [f"{name} {_VALUES[fault]}" if fault in _VALUES else line]
